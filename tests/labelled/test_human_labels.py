"""The service with the human labels as its judge: exact scores, and attacks that do not pay.

What reads public rows skips where the labelled data are absent.
"""

import asyncio
import collections
import statistics
from functools import partial

import pytest

from citemark_rubrics import load_library
from citemark_schemas import (
    ClaimVerdict,
    CriterionVerdict,
    Knobs,
    Rollout,
    ScoreResult,
    SentenceVerdict,
)
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
)
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.doubting_judge import DoubtingJudge, std_of
from support.examples import labelled_rows, score_one

SUPPORT = {"supported": 1.0, "partially_supported": 0.5, "not_supported": 0.0}
EXACT = ("recall_graded", "precision_graded_uncited_penalised", "f1_default")


def folded(text: str) -> str:
    return " ".join(text.split())


class LabelJudge(Judge):
    """Answers with one rollout's labels: support by (claim, id), factual by sentence."""

    identity = JudgeIdentity("human labels", "1")

    def __init__(self, row: dict) -> None:
        cited = [claim for claim in row["claims"] if claim["ids"]]
        self._texts = {folded(claim["text"]) for claim in cited}
        self._support = {
            (folded(claim["text"]), name): SUPPORT[claim["human_label"]]
            for claim in cited
            for name in claim["ids"]
        }
        uncited = [claim for claim in row["claims"] if not claim["ids"]]
        self._uncited = {folded(claim["text"]): claim["needs_citation"] for claim in uncited}

    async def judge_criteria(
        self, task: CriteriaTask, *, meter, deadline
    ) -> tuple[CriterionVerdict, ...]:
        return tuple(CriterionVerdict(score=0.5) for _ in task.criteria)

    async def judge_citations(self, task: CitationTask, *, meter, deadline) -> CitationVerdicts:
        # What the labels do not know is a fact that nobody vouched for, also a once-cited claim.
        facts = (float(self._uncited.get(folded(each.text), 1.0)) for each in task.sentences)
        return CitationVerdicts(
            tuple(self._claim(folded(cited.claim.text), cited.ids) for cited in task.claims),
            tuple(SentenceVerdict(factual=fact) for fact in facts),
        )

    def _claim(self, text: str, ids: tuple[str, ...]) -> ClaimVerdict:
        alone = {each: self._support.get((text, each), 0.0) for each in ids}
        return ClaimVerdict(
            support=max(alone.values()),
            substantive=float(text in self._texts),
            contributing={each: float(value > 0) for each, value in alone.items()},
        )


def to_rollout(row: dict) -> Rollout:
    fields = ("id", "question", "tool_output", "response")
    return Rollout.model_validate({name: row[name] for name in fields})


def score_all(*pairs: tuple[dict, dict]) -> list[ScoreResult]:
    """Results of rows, each with the row whose labels judge it."""
    build = partial(Pipeline, library=load_library(), settings=Settings(), metrics=Metrics())

    async def score() -> list[ScoreResult]:
        results = []
        for row, labels in pairs:
            rollout, scoring = to_rollout(row), build(judge=LabelJudge(labels)).score
            results.append(await scoring(rollout, request=Knobs(), position=0, deadline=None))
        return results

    return asyncio.run(score())


@pytest.fixture(scope="module")
def bases() -> dict[str, tuple[dict, ScoreResult]]:
    """129 whole rollouts with a human label for each claim, and their results, by id."""
    rows = labelled_rows("rollouts_labelled.jsonl")
    results = score_all(*((row, row) for row in rows))
    return {row["id"]: (row, result) for row, result in zip(rows, results, strict=True)}


@pytest.fixture(scope="module")
def attacked(bases) -> list[tuple[dict, ScoreResult]]:
    """400 attacks on those rollouts, and their results."""
    rows = labelled_rows("rollouts_adversarial.jsonl")
    results = score_all(*((row, bases[row["base_id"]][0]) for row in rows))
    return list(zip(rows, results, strict=True))


def f1(result: ScoreResult) -> float:
    return 0.0 if result.citation is None else result.citation.f1


def test_exact_scores_under_the_human_labels(bases):
    whole = [pair for pair in bases.values() if pair[0]["n_fragments"] == 0]
    assert len(whole) > 100
    for row, result in whole:
        expected = [row["expected"][name] for name in EXACT]
        cited = result.citation
        found = [0.0] * 3 if cited is None else [cited.recall, cited.precision, cited.f1]
        assert found == pytest.approx(expected, abs=1e-6), row["id"]


def test_the_standard_deviation_is_that_of_drawn_digits(bases):
    errors = []
    for row, _ in [*bases.values()][::4]:
        judge = DoubtingJudge(LabelJudge(row))
        result = score_one(to_rollout(row), judge=judge)
        drawn = statistics.pstdev(judge.draw_rewards(result, 10_000))
        errors.append(abs(std_of(result) - drawn) / drawn)
    assert statistics.median(errors) < 0.05


def test_attacks_with_an_exact_outcome(attacked):
    exact = [pair for pair in attacked if pair[0]["expect"] == "equal"]
    assert len(exact) >= 200
    for row, result in exact:
        assert f1(result) == pytest.approx(row["expected_f1_default"], abs=1e-6), row["id"]


def test_no_attack_gains_over_its_base(bases, attacked):
    changes = collections.defaultdict(list)
    for row, result in attacked:
        before, after = f1(bases[row["base_id"]][1]), f1(result)
        changes[row["attack"]].append(after - before)
        if row["expect"] in ("less", "not_more"):
            assert after <= before + 1e-6, row["id"]
    assert len(changes) == 16
    for attack, each in changes.items():
        assert statistics.fmean(each) <= 1e-6, attack


def test_unscorable_answers_earn_nothing_at_all(attacked):
    for row, result in attacked:
        if row["attack"] in ("empty_answer", "no_answer_block", "two_answer_blocks"):
            assert (result.reward, result.judge.calls) == (0.0, 0)
            assert result.refusal is not None


def test_headings_and_a_table_cost_nothing_where_every_fact_is_cited():
    opened = "<snippet id=S1>The Orm Bridge opened in 1963.</snippet>"
    length = "<snippet id=S2>The Orm Bridge is 312 m long.</snippet>"
    table = (
        "# The Orm Bridge\n\n**Key facts**\n\nThe main findings are as follows:\n\n"
        f"| Fact | Finding |\n|:---|:---|\n| **Opening** | {opened} |\n| Length | {length} |\n\n"
        "## Formula\n\n$$v = s / t$$\n\n---\n\n### Sources\n\n[1] S1\n- S2: Orm Bridge\n"
    )
    labels = {
        "id": "orm",
        "question": "When did it open, and how long is it?",
        "tool_output": "<snippet id=S1>It opened in 1963.</snippet>"
        "<snippet id=S2>Orm Bridge\nIt is 312 m long.</snippet>",
        "claims": [
            {"text": text, "ids": [name], "human_label": "supported"}
            for text, name in (
                ("The Orm Bridge opened in 1963.", "S1"),
                ("The Orm Bridge is 312 m long.", "S2"),
            )
        ],
    }
    rows = [
        {**labels, "response": f"<answer>{block}</answer>"}
        for block in (table, f"{opened} {length}")
    ]
    marked, plain = score_all(*((row, labels) for row in rows))
    assert f1(marked) == f1(plain) == 1.0
    assert (marked.reward, marked.uncited, marked.warnings) == (plain.reward, (), ())
    false = table.replace("S2: Orm Bridge", "S2: Lead heals.")
    hidden = {**labels, "response": f"<answer>{false}</answer>"}
    (result,) = score_all((hidden, labels))
    assert f1(result) == pytest.approx(2 / 3)
