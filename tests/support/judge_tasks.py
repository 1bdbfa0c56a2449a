"""Tasks for a judge from plain text, and a scripted judge that reads the shape it is shown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from citemark_rubrics import load_library
from citemark_schemas import Criterion, FailureKind, FormatReport, Knobs, Polarity, Rollout
from citemark_service.judges.tasks import CitationTask, CriteriaTask, Origin
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.sources import read_sources
from citemark_service.score.rollout import parse_rollout
from citemark_service.telemetry.metrics import CallOutcome, Metrics
from support.scripted_judge import Answers, Reply, Script

QUESTION = "When did the Alder viaduct open, and what did it cost?"
TOOL_OUTPUT = """<snippet id=S_1>The Alder viaduct opened to trains in June 1871.</snippet>
<snippet id=S_2>Its builders were paid 48,000 pounds, 3,000 more than agreed.</snippet>
<snippet id=S_3>The Birch viaduct, two miles on, was closed in 1962.</snippet>"""
RESPONSE = """<answer>The records agree on both points.
<snippet id=S_1>The Alder viaduct opened in June 1871.</snippet>
<snippet id=S_2,S_3>It cost 48,000 pounds.</snippet></answer>"""
CRITERIA = (
    Criterion(title="Opening", description="Gives the year 1871."),
    Criterion(title="Cost", description="Gives 48,000 pounds."),
    Criterion(title="Padding", description="Tells of other bridges.", polarity=Polarity.NEGATIVE),
)


def criteria_task(
    response: str = RESPONSE,
    *,
    criteria: Sequence[Criterion] = CRITERIA,
    question: str = QUESTION,
    tool_output: str = TOOL_OUTPUT,
) -> CriteriaTask:
    """The criteria of one rollout, as the pipeline would ask for them."""
    return CriteriaTask(
        question=question,
        sources=read_sources(tool_output, None),
        answer=read_answer(response),
        format=FormatReport(checks={}, bonus=1.0),
        criteria=tuple(criteria),
    )


def claims_task(
    response: str = RESPONSE, *, question: str = QUESTION, tool_output: str = TOOL_OUTPUT
) -> CitationTask:
    """The claims and uncited sentences of one rollout, which must have a cited claim."""
    rollout = Rollout(question=question, tool_output=tool_output, response=response)
    task = parse_rollout(rollout, Knobs(), load_library(), 0).citation_task(Origin(), cap=40)
    assert task is not None
    return task


def shape_of(request: Mapping[str, Any]) -> str:
    """The reply's shape, which is the last line of a language judge's prompt."""
    return str(request["messages"][-1]["content"].splitlines()[-1])


def filled(shape: str, *, quote: str = "", **digits: int) -> str:
    """`shape` with the quote for Q and digits for its letters (V, S, U, C, F), 0 by default."""
    values = {ord(letter): str(digits.get(letter, 0)) for letter in "VSUCF"}
    return shape.translate({**values, ord("Q"): quote})


def by_shape(*, quote: str = "", **digits: int) -> Script:
    """Answer each request in its own shape."""
    return lambda request: Reply(filled(shape_of(request), quote=quote, **digits))


def by_level(*, mass: float = 0.99, **digits: int) -> Script:
    """Answer each question with the digit of its letter (V, S, U, C, F), 0 by default, at 0.8."""

    def answer(request: Mapping[str, Any]) -> Answers:
        read = {}
        for key, question in request["questions"].items():
            letter = re.match(r"(?:Claim|Sentence) \S+ above, (\w)", question["instructions"])
            chosen = digits.get(letter[1] if letter else "V", 0)
            levels = len(question["criteria"])
            rest = 0.2 / (levels - 1)
            read[key] = [0.8 if level == chosen else rest for level in range(levels)]
        return Answers(read, mass)

    return answer


class RetryLog(Metrics):
    """Keeps what was reported: calls with their prompt, cached and completion tokens; retries."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[CallOutcome, tuple[int, int, int]]] = []
        self.retries: list[FailureKind] = []

    def count_call(self, outcome: CallOutcome, seconds: float, **tokens: int) -> None:
        assert seconds >= 0
        counts = (tokens["prompt"], tokens["cached"], tokens["completion"])
        self.calls.append((outcome, counts))

    def count_retry(self, kind: FailureKind) -> None:
        self.retries.append(kind)
