"""The service with the human labels as its judge: exact scores, and attacks that do not pay."""

import collections
import statistics

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

SUPPORT = {"supported": 1.0, "partially_supported": 0.5, "not_supported": 0.0}
EXACT = ("recall_graded", "precision_graded_uncited_penalised", "f1_default")


def folded(text: str) -> str:
    return " ".join(text.split())


class LabelJudge(Judge):
    """Answers with one rollout's labels: support by (claim, id), factual by sentence."""

    identity = JudgeIdentity("human labels", "1")

    def __init__(self, row: dict) -> None:
        self._support = {
            (folded(claim["text"]), snippet_id): SUPPORT[claim["human_label"]]
            for claim in row["claims"]
            for snippet_id in claim["ids"]
        }
        self._texts = {folded(claim["text"]) for claim in row["claims"] if claim["ids"]}
        self._uncited = {
            folded(claim["text"]): float(claim["needs_citation"])
            for claim in row["claims"]
            if not claim["ids"]
        }

    async def judge_criteria(
        self, task: CriteriaTask, *, meter, deadline
    ) -> tuple[CriterionVerdict, ...]:
        return tuple(CriterionVerdict(score=0.5) for _ in task.criteria)

    async def judge_citations(self, task: CitationTask, *, meter, deadline) -> CitationVerdicts:
        return CitationVerdicts(
            tuple(self._claim(cited.claim.text, cited.ids) for cited in task.claims),
            tuple(self._sentence(sentence.text) for sentence in task.sentences),
        )

    def _claim(self, text: str, ids: tuple[str, ...]) -> ClaimVerdict:
        alone = {i: self._support.get((folded(text), i), 0.0) for i in ids}
        known = folded(text) in self._texts
        return ClaimVerdict(
            support=max(alone.values()),
            substantive=float(known),
            contributing={i: float(value > 0) for i, value in alone.items()},
        )

    def _sentence(self, text: str) -> SentenceVerdict:
        # What the labels do not know is a fact that nobody vouched for, also a once-cited claim.
        return SentenceVerdict(factual=self._uncited.get(folded(text), 1.0))


async def scored(row: dict, labels: dict) -> ScoreResult:
    pipeline = Pipeline(
        judge=LabelJudge(labels),
        library=load_library(),
        settings=Settings(),
        metrics=Metrics(),
    )
    fields = ("id", "question", "tool_output", "response")
    rollout = Rollout.model_validate({name: row[name] for name in fields})
    return await pipeline.score(rollout, request=Knobs(), position=0, deadline=None)


def measured(result: ScoreResult) -> tuple[float, float, float]:
    citation = result.citation
    if citation is None:
        return (0.0, 0.0, 0.0)
    return citation.recall, citation.precision, citation.f1


async def test_exact_scores_under_the_human_labels(labelled):
    whole = [row for row in labelled if row["n_fragments"] == 0]
    assert len(whole) > 100
    for row in whole:
        expected = [row["expected"][name] for name in EXACT]
        assert measured(await scored(row, row)) == pytest.approx(expected, abs=1e-6), row["id"]


async def test_attacks_with_an_exact_outcome(labelled, attacked):
    bases = {row["id"]: row for row in labelled}
    exact = [row for row in attacked if row["expect"] == "equal"]
    assert len(exact) >= 200
    for row in exact:
        result = await scored(row, bases[row["base_id"]])
        f1 = measured(result)[2]
        assert f1 == pytest.approx(row["expected_f1_default"], abs=1e-6), row["id"]


async def test_no_attack_gains_over_its_base(labelled, attacked):
    bases = {row["id"]: row for row in labelled}
    change = collections.defaultdict(list)
    for row in attacked:
        base = bases[row["base_id"]]
        before = measured(await scored(base, base))[2]
        after = measured(await scored(row, base))[2]
        change[row["attack"]].append(after - before)
        if row["expect"] in ("less", "not_more"):
            assert after <= before + 1e-6, row["id"]
    assert len(change) == 16
    for attack, changes in change.items():
        assert statistics.fmean(changes) <= 1e-6, attack


async def test_unscorable_answers_earn_nothing_at_all(labelled, attacked):
    bases = {row["id"]: row for row in labelled}
    for row in attacked:
        if row["attack"] in ("empty_answer", "no_answer_block", "two_answer_blocks"):
            result = await scored(row, bases[row["base_id"]])
            assert (result.reward, result.judge.calls) == (0.0, 0)
            assert result.refusal is not None
