"""Measuring a judge on labelled files: what is asked, what is counted, what is refused."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from citemark_schemas import ClaimVerdict, CriterionVerdict
from citemark_service.agreement.labelled import Agreement, measure
from citemark_service.errors import DataError, JudgeTimeout
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Usage,
)
from support.labelled_data import labelled_file


class ReadingJudge(Judge):
    """Finds its score in the text it is asked about: the last word, or no verdict at all."""

    identity = JudgeIdentity("reading", "none")

    def __init__(self) -> None:
        self.tasks: list[CitationTask | CriteriaTask] = []
        self.running = self.most = 0

    async def _score(self, text: str, meter: Meter) -> float:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        meter.add(Usage(calls=1))
        word = text.rsplit(maxsplit=1)[-1]
        if word == "fails":
            raise JudgeTimeout("as written")
        return float(word)

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        self.tasks.append(task)
        return (CriterionVerdict(score=await self._score(task.answer.text, meter)),)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        self.tasks.append(task)
        support = await self._score(task.claims[0].claim.text, meter)
        return CitationVerdicts((ClaimVerdict(support=support, substantive=1.0),), ())


def support_row(score: str, label: str, snippets: int = 1) -> dict:
    texts = [{"id": f"s{number}", "text": "Rivers rise."} for number in range(snippets)]
    claim = f"The river rose by {score}"
    return {"question": "Why?", "claim": claim, "snippets": texts, "human_label": label}


def criterion_row(score: str, label: float, criterion: str, polarity: str = "negative") -> dict:
    return {
        "question": "Why?",
        "response": f"It rained. {score}",
        "criterion": criterion,
        "polarity": polarity,
        "human_label": label,
        "snippets": [],
        "source": "written for this test",
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(*rows: dict | str) -> Path:
        path = tmp_path / "rows.jsonl"
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return written


def measured(judge: ReadingJudge | EmbeddedJudge, path: Path, concurrency: int = 4) -> Agreement:
    return asyncio.run(measure(judge, path, concurrency=concurrency))


def test_support_is_compared_with_fully_supported_and_a_failure_is_never_scored(write) -> None:
    path = write(
        support_row("0.9", "supported"),
        support_row("0.6", "partially_supported"),
        support_row("fails", "supported"),
        support_row("0.1", "not_supported"),
    )
    found = measured(ReadingJudge(), path)
    assert (found.file, found.kind, found.failed) == ("rows.jsonl", "support", 1)
    assert found.figures is not None
    assert (found.figures.rows, found.figures.positives) == (3, 1)
    assert found.figures.auc == 1.0
    assert found.figures.balanced_accuracy == pytest.approx(0.75)
    assert found.usage == Usage(calls=4)


def test_a_claim_is_judged_over_at_most_five_of_its_snippets(write) -> None:
    judge = ReadingJudge()
    measured(judge, write(support_row("0.9", "supported", snippets=7)))
    (task,) = judge.tasks
    assert isinstance(task, CitationTask)
    assert task.claims[0].ids == ("s0", "s1", "s2", "s3", "s4")


def test_criteria_are_broken_down_by_title(write) -> None:
    path = write(
        criterion_row("0.8", 1, "Padding: it says too much."),
        criterion_row("0.3", 0, "Padding: it says too much."),
        criterion_row("0.2", 0.5, "Usefulness: it helps.", "positive"),
    )
    judge = ReadingJudge()
    found = measured(judge, path)
    assert found.kind == "criteria"
    assert {title: one.rows for title, one in found.by_criterion.items()} == {
        "Padding": 2,
        "Usefulness": 1,
    }
    assert found.by_criterion["Padding"].auc == 1.0
    tasks = [task for task in judge.tasks if isinstance(task, CriteriaTask)]
    assert {task.answer.sentences[0].text for task in tasks} == {"It rained."}
    asked = [task.criteria[0] for task in tasks]
    assert {(one.title, one.polarity.value) for one in asked} == {
        ("Padding", "negative"),
        ("Usefulness", "positive"),
    }


def test_no_more_rows_than_asked_for_are_judged_at_once(write) -> None:
    judge = ReadingJudge()
    measured(judge, write(*[support_row("0.9", "supported")] * 20), concurrency=3)
    assert judge.most == 3


def test_whole_rollouts_are_skipped_with_a_reason(write) -> None:
    row = {"question": "Why?", "tool_output": "", "response": "", "attack": "empty_answer"}
    found = measured(ReadingJudge(), write(row))
    assert (found.kind, found.figures) == ("rollouts", None)
    assert found.skipped


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("{", r"rows\.jsonl:2: not a JSON object"),
        ("[1]", r"rows\.jsonl:2: not a JSON object"),
        ({"question": "Why?"}, r"rows\.jsonl:2: has neither"),
        (support_row("0.9", "maybe"), r"rows\.jsonl:2: human_label"),
        (support_row("0.9", "supported") | {"snippets": "s"}, r"rows\.jsonl:2: snippets"),
        (criterion_row("0.9", 1, "Padding: x"), r"rows\.jsonl:2: is of another kind"),
        ({"tool_output": ""}, r"rows\.jsonl:2: is of another kind"),
    ],
)
def test_a_bad_line_is_named(write, bad: dict | str, named: str) -> None:
    path = write(support_row("0.9", "supported"), bad)
    with pytest.raises(DataError, match=named):
        measured(ReadingJudge(), path)


@pytest.mark.parametrize("label", [1.5, -1, "good"])
def test_a_label_out_of_range_is_named(write, label: float | str) -> None:
    path = write(criterion_row("0.9", 1, "Padding: x") | {"human_label": label})
    with pytest.raises(DataError, match=r"rows\.jsonl:1: human_label"):
        measured(ReadingJudge(), path)


def test_an_empty_or_absent_file_is_refused(write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no row"):
        measured(ReadingJudge(), write(""))
    with pytest.raises(DataError, match="cannot be read"):
        measured(ReadingJudge(), tmp_path / "absent.jsonl")


# Best balanced accuracy and AUC of plain word overlap between claim and snippets.
OVERLAP = {
    "wice.jsonl": (0.60, 0.63),
    "expertqa.jsonl": (0.58, 0.60),
    "scifact.jsonl": (0.61, 0.63),
    "fgrlhf_support.jsonl": (0.76, 0.79),
    "attributionbench.jsonl": (0.76, 0.82),
}


@pytest.mark.parametrize("name", OVERLAP)
def test_the_embedded_judge_reaches_word_overlap_on_support(name: str) -> None:
    found = measured(EmbeddedJudge(), labelled_file(name)).figures
    assert found is not None
    accuracy, area = OVERLAP[name]
    assert (found.balanced_accuracy_best or 0) >= accuracy
    assert (found.auc or 0) >= area
    assert (found.balanced_accuracy or 0) > 0.54  # the fixed threshold says something, too


# AUC of the overlap between the criterion's words and the response, and, for criteria that
# compare with sources, of the overlap between response and sources.
OVERLAP_CRITERIA = {
    "rubric_fgrlhf.jsonl": {
        "Completeness": 0.64,
        "Off-Query Padding": 0.52,
        "Redundancy": 0.52,
        "Unsupported Facts": 0.79,
    },
    "rubric_expertqa.jsonl": {
        "Factual Errors": 0.51,
        "Off-Query Padding": 0.50,
        "Usefulness": 0.48,
    },
}


@pytest.mark.parametrize("name", OVERLAP_CRITERIA)
def test_the_embedded_judge_beats_word_overlap_on_criteria(name: str) -> None:
    found = measured(EmbeddedJudge(), labelled_file(name)).by_criterion
    weaker = [
        title for title, bar in OVERLAP_CRITERIA[name].items() if (found[title].auc or 0) <= bar
    ]
    assert weaker == []
