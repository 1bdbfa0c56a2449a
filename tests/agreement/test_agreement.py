"""Measuring a judge on labelled files: what is asked, what is counted, what is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ruamel.yaml import YAML

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.agreement.measure import COMPARED, Agreement, compare, measure
from citemark_service.agreement.report import (
    draw_reliability,
    load_report,
    make_report,
    save_report,
    write_card,
)
from citemark_service.errors import DataError, JudgeTimeout
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Usage,
)
from citemark_service.settings import Settings
from support.composed_rollouts import compose
from support.examples import labelled_file


class ReadingJudge(Judge):
    """Finds its score in the text it is asked about: the last word, or no verdict at all."""

    identity = JudgeIdentity("reading", "none")

    def __init__(self) -> None:
        self.tasks: list[Any] = []
        self.running = self.most = 0

    async def _score(self, task: CitationTask | CriteriaTask, text: str, meter) -> float:
        self.tasks.append(task)
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
        self, task: CriteriaTask, *, meter, deadline
    ) -> tuple[CriterionVerdict, ...]:
        return (CriterionVerdict(score=await self._score(task, task.answer.text, meter)),)

    async def judge_citations(self, task: CitationTask, *, meter, deadline) -> CitationVerdicts:
        support = await self._score(task, task.claims[0].claim.text, meter)
        return CitationVerdicts((ClaimVerdict(support=support, substantive=1.0),), ())


def support_row(score: str, label: str, snippets: int = 1) -> dict[str, Any]:
    texts = [{"id": f"s{number}", "text": "Rivers rise."} for number in range(snippets)]
    claim = f"The river rose by {score}"
    return {"question": "Why?", "claim": claim, "snippets": texts, "human_label": label}


def criterion_row(
    score: str,
    label: Any,
    criterion: str = "Padding: it says too much.",
    polarity: str = "negative",
) -> dict[str, Any]:
    return {
        "question": "Why?",
        "response": f"It rained. {score}",
        "criterion": criterion,
        "polarity": polarity,
        "human_label": label,
        "snippets": [],
        "source": "written for this test",
    }


FULLY = support_row("0.9", "supported")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def measured(
    path: Path, *rows: dict[str, Any] | str, concurrency: int = 4
) -> tuple[Agreement, ReadingJudge]:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n")
    judge = ReadingJudge()
    return asyncio.run(measure(judge, path, Settings(), concurrency=concurrency)), judge


def test_support_is_compared_with_fully_supported_and_a_failure_is_never_scored(path):
    labels = {"0.6": "partially_supported", "fails": "supported", "0.1": "not_supported"}
    found, _ = measured(path, FULLY, *(support_row(*each) for each in labels.items()))
    assert (found.file, found.kind, found.failed) == ("rows.jsonl", "support", 1)
    assert found.figures is not None
    assert (found.figures.rows, found.figures.positives) == (3, 1)
    assert found.figures.auc == 1.0
    assert found.figures.balanced_accuracy == pytest.approx(0.75)
    assert found.usage == Usage(calls=4)


def test_a_claim_is_judged_over_at_most_five_of_its_snippets(path):
    _, judge = measured(path, support_row("0.9", "supported", snippets=7))
    (task,) = judge.tasks
    assert task.claims[0].ids == ("s0", "s1", "s2", "s3", "s4")


def test_criteria_are_broken_down_by_title(path):
    useful = criterion_row("0.2", 0.5, "Usefulness: it helps.", "positive")
    found, judge = measured(path, criterion_row("0.8", 1), criterion_row("0.3", 0), useful)
    assert found.kind == "criteria"
    rows = {title: one.rows for title, one in found.by_criterion.items()}
    assert rows == {"Padding": 2, "Usefulness": 1}
    assert found.by_criterion["Padding"].auc == 1.0
    assert {task.answer.sentences[0].text for task in judge.tasks} == {"It rained."}
    asked = {(task.criteria[0].title, task.criteria[0].polarity.value) for task in judge.tasks}
    assert asked == {("Padding", "negative"), ("Usefulness", "positive")}


def test_no_more_rows_than_asked_for_are_judged_at_once(path):
    _, judge = measured(path, *[FULLY] * 20, concurrency=3)
    assert judge.most == 3


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([FULLY, "{"], ", line 2: is not"),
        ([FULLY, "[1]"], ", line 2: is not"),
        ([FULLY, {"question": "Why?"}], ", line 2: has neither"),
        ([FULLY, support_row("0.9", "maybe")], ", line 2: human_label"),
        ([FULLY, FULLY | {"snippets": "s"}], ", line 2: snippets"),
        ([FULLY, criterion_row("0.9", 1)], ", line 2: is of another kind"),
        ([FULLY, {"tool_output": ""}], ", line 2: is of another kind"),
        *(([criterion_row("0.9", label)], ", line 1: human_label") for label in (1.5, -1, "good")),
        ([""], ": holds no row"),
    ],
)
def test_a_bad_line_is_named(path, rows, named):
    with pytest.raises(DataError, match=rf"rows\.jsonl{named}"):
        measured(path, *rows)


def test_an_absent_file_is_refused(path):
    with pytest.raises(DataError, match="cannot read"):
        asyncio.run(measure(ReadingJudge(), path, Settings(), concurrency=1))


def test_two_judges_are_compared_on_the_rows_that_both_judged(path: Path, tmp_path: Path) -> None:
    labels = ["supported", "not_supported"] * 30
    good = [support_row(str(0.2 + 0.6 * (n % 2 == 0)), label) for n, label in enumerate(labels)]
    poor = [support_row(str(0.2 + 0.6 * (n % 3 == 0)), label) for n, label in enumerate(labels)]
    poor[0] = support_row("fails", "supported")
    for rows in (good, poor):
        for n, row in enumerate(rows):
            row["question"] = f"Question {n // 2}?"
    better, _ = measured(path, *good)
    file = tmp_path / "kept.json"
    save_report(make_report(ReadingJudge.identity, [measured(path, *poor)[0]]), file)
    report = load_report(file)
    both, differences = compare(better, report.files[0])
    assert both == 59
    assert {found.figure for found in differences} == {*COMPARED}
    for found in differences:
        if found.figure == "bias":
            continue
        assert found.first == pytest.approx(1.0)
        assert found.second < 0.7
        assert found.p < 0.01
        low, high = found.interval
        assert 0 < low < found.first - found.second < high
    assert all(found.p == 1.0 for found in compare(better, better)[1])
    card = YAML().load(write_card(report))["judge"]
    assert (card["model"], card["agreement"]["rows.jsonl"]["failed"]) == ("reading", 1)
    assert ElementTree.fromstring(draw_reliability(report)).tag.endswith("svg")
    with pytest.raises(DataError, match="not those"):
        compare(better, measured(path, *reversed(good))[0])
    with pytest.raises(DataError, match="is not what"):
        load_report(path)


# Best balanced accuracy and AUC of plain word overlap between claim and snippets.
OVERLAP = {
    "wice.jsonl": (0.60, 0.63),
    "expertqa.jsonl": (0.58, 0.60),
    "scifact.jsonl": (0.61, 0.63),
    "fgrlhf_support.jsonl": (0.76, 0.79),
    "attributionbench.jsonl": (0.76, 0.82),
}
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


@pytest.mark.parametrize("name", [*OVERLAP, *OVERLAP_CRITERIA])
def test_the_embedded_judge_is_better_than_word_overlap(name):
    found = asyncio.run(measure(EmbeddedJudge(), labelled_file(name), Settings(), concurrency=4))
    for title, bar in OVERLAP_CRITERIA.get(name, {}).items():
        assert (found.by_criterion[title].auc or 0) > bar, title
    if name in OVERLAP:
        assert found.figures is not None
        accuracy, area = OVERLAP[name]
        assert (found.figures.balanced_accuracy_best or 0) >= accuracy
        assert (found.figures.auc or 0) >= area
        assert (found.figures.balanced_accuracy or 0) > 0.54  # at the fixed threshold


class LabelReader(ReadingJudge):
    """Knows each claim's label, as `compose` notes it; every uncited sentence is a fact."""

    def __init__(self, labels: dict[str, float]) -> None:
        super().__init__()
        self.labels = labels

    async def judge_citations(self, task: CitationTask, *, meter, deadline) -> CitationVerdicts:
        supports = (self.labels[cited.claim.text] for cited in task.claims)
        claims = tuple(ClaimVerdict(support=support, substantive=1.0) for support in supports)
        return CitationVerdicts(claims, (SentenceVerdict(factual=1.0),) * len(task.sentences))


def test_the_f1_of_composed_rollouts_is_known_exactly(path: Path) -> None:
    names = ["supported", "partially_supported", "not_supported"]
    claims = [
        {
            "question": f"When did the ferry of Port {chr(65 + n)} start?",
            "claim": f"The ferry of Port {chr(65 + n)} started in {1900 + n}.",
            "snippets": [{"id": "x", "text": f"{'<' * n} started in {1900 + n}."}],
            "human_label": names[n % 3],
        }
        for n in range(20)
    ]
    rows = list(compose(claims, 60))
    for row in rows:
        path.write_text(json.dumps(row))
        judge = LabelReader(row["labels"])
        found = asyncio.run(measure(judge, path, Settings(), concurrency=1))
        assert found.judged[0].pair.score == pytest.approx(row["expected"]["f1_default"])
    assert len({row["expected"]["f1_default"] for row in rows}) > 6
    path.write_text("\n".join(map(json.dumps, rows)))
    figures = asyncio.run(measure(EmbeddedJudge(), path, Settings(), concurrency=4)).figures
    assert figures is not None
    assert figures.rows == 60
    assert (figures.pearson or 0.0) > 0.2
    assert figures.bias is not None
