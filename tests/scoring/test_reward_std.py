"""The reward's standard deviation by its judge's own probabilities."""

import math
from statistics import median, pstdev

import pytest

from citemark_schemas import Knobs, ScoreResult
from citemark_service.judges.tasks import CitationVerdicts
from citemark_service.rescoring.compare import Change, rescore
from citemark_service.score.explanation import reward_line
from support.doubting_judge import DoubtingJudge, std_of
from support.examples import EMBEDDED, ROLLOUTS, score_one

RESPONSE = ROLLOUTS[0].response.replace("</answer>", " It was built in 1871.</answer>")
CITED = ROLLOUTS[0].model_copy(update={"response": RESPONSE})
BARE = CITED.model_copy(update={"response": "<answer>I cannot say. I did not find it.</answer>"})


def doubted(rollout=CITED, knobs: Knobs | None = None, judge=None) -> ScoreResult:
    return score_one(rollout, knobs, judge or DoubtingJudge(EMBEDDED))


class ForgetfulJudge(DoubtingJudge):
    """Leaves out one of its variances, as a cache of before does."""

    def __init__(self, kind: str) -> None:
        super().__init__(EMBEDDED)
        self._kind = kind

    def _forget(self, kind, verdicts):
        name = "variances" if kind == "claim" else "variance"
        first = verdicts[0].model_copy(update={name: None} if kind == self._kind else {})
        return (first, *verdicts[1:])

    async def judge_criteria(self, task, **limits):
        return self._forget("criterion", await super().judge_criteria(task, **limits))

    async def judge_citations(self, task, **limits):
        both = await super().judge_citations(task, **limits)
        claims = self._forget("claim", both.claims)
        return CitationVerdicts(claims, self._forget("sentence", both.sentences))


def test_it_is_that_of_drawn_digits():
    errors = []
    for seed, rollout in enumerate(ROLLOUTS):
        judge = DoubtingJudge(EMBEDDED, seed=seed)
        result = score_one(rollout, judge=judge)
        if result.refusal is None:
            drawn = pstdev(judge.draw_rewards(result, 10_000))
            errors.append(abs(std_of(result) - drawn) / drawn)
        else:
            assert result.reward_std == 0.0
    assert len(errors) > 10
    assert median(errors) < 0.05
    assert max(errors) < 0.15


@pytest.mark.parametrize("kind", ["criterion", "claim", "sentence"])
def test_it_is_unknown_where_one_verdict_that_counts_has_no_distribution(kind):
    assert doubted(judge=ForgetfulJudge(kind)).reward_std is None
    alone = doubted(knobs=Knobs(apply_citation_reward=False), judge=ForgetfulJudge(kind))
    assert (alone.reward_std is None) == (kind == "criterion")
    unpaid = doubted(knobs=Knobs(citation_weight=0.0), judge=ForgetfulJudge(kind))
    assert (unpaid.reward_std is None) == (kind == "criterion")


def test_a_scale_and_a_format_bonus_scale_it():
    plain, alone = std_of(doubted()), std_of(doubted(knobs=Knobs(citation_weight=0.0)))
    assert plain > alone > 0
    tenfold = doubted(knobs=Knobs(verification_reward=10.0))
    assert tenfold.reward_std == pytest.approx(10 * plain)
    gated = Knobs(citation_weight=0.0, gate_judge_score_with_format_bonus=True)
    halved = doubted(CITED.model_copy(update={"response": f"x{CITED.response}"}), gated)
    assert halved.reward_std == pytest.approx(halved.format.bonus * alone)


def test_an_abstention_pays_by_chance():
    judge = DoubtingJudge(EMBEDDED)
    result = doubted(BARE, Knobs(no_claims_score=0.5, citation_weight=1.0), judge)
    none = math.prod(1 - each[1.0] for each in judge.sentences)
    assert len(judge.sentences) == 2
    assert result.citation is not None
    assert result.citation.score == pytest.approx(0.5 * none)
    assert result.citation.variance == pytest.approx(0.25 * none * (1 - none))


def test_other_knobs_change_it_and_the_same_ones_do_not():
    result = doubted()
    assert rescore(CITED, result, Change(Knobs(), {})) == result
    heavy = Knobs(citation_weight=1.0)
    again = rescore(CITED, result, Change(heavy, {}))
    assert std_of(again) == doubted(knobs=heavy).reward_std
    assert std_of(again) > std_of(result)


def test_it_is_printed_beside_the_reward():
    result = doubted().model_copy(update={"reward": 0.85, "reward_std": 0.03})
    assert reward_line(result).startswith("reward    0.850 ± 0.030 = ")
    assert "±" not in reward_line(score_one(CITED))
