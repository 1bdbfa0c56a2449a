"""Rubric score, flips and the reward's sum."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Criterion, CriterionVerdict, Knobs, Polarity, RubricScore
from citemark_service.score.formula import rubric_reward, score_criterion
from support.examples import ROLLOUTS, score_one

units = st.floats(0, 1, allow_nan=False)
weights = st.floats(0, 1e6, allow_nan=False)
polarities = st.sampled_from(Polarity)


def scored(raw: float, weight: float = 1.0, polarity: Polarity = Polarity.POSITIVE) -> RubricScore:
    criterion = Criterion(title="t", description="d", polarity=polarity, weight=weight)
    return score_criterion(criterion, CriterionVerdict(score=raw))


rubric_lists = st.lists(
    st.builds(scored, units, weights, polarities), min_size=1, max_size=20
).filter(lambda rubrics: math.fsum(r.weight for r in rubrics) > 0)


def test_negative_criteria_are_flipped_and_weights_count():
    rubrics = [scored(1.0, 3.0), scored(0.25, 1.0, Polarity.NEGATIVE)]
    assert [r.score for r in rubrics] == [1.0, 0.75]
    assert rubric_reward(rubrics) == pytest.approx((3 * 1.0 + 0.75) / 4)


def test_nothing_to_average_is_an_error_not_a_score():
    for rubrics in ([], [scored(1.0, 0.0)]):
        with pytest.raises(ValueError, match="sum to 0"):
            rubric_reward(rubrics)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(),
        Knobs(verification_reward=10.0, citation_weight=1.0),
        Knobs(gate_judge_score_with_format_bonus=True),
        Knobs(apply_citation_reward=False),
    ],
)
@pytest.mark.parametrize("rollout", ROLLOUTS[:4], ids=lambda rollout: rollout.id)
def test_the_sum(rollout, knobs):
    result = score_one(rollout, knobs)
    gate = result.format.bonus if knobs.gate_judge_score_with_format_bonus else 1.0
    assert (result.citation is None) is not knobs.apply_citation_reward
    cited = 0.0 if result.citation is None else result.citation.score
    expected = rubric_reward(result.rubrics) * gate + knobs.citation_weight * cited
    assert result.reward == pytest.approx(knobs.verification_reward * expected)


@given(rubric_lists, st.integers(0), units)
def test_a_mean_lies_in_the_unit_interval_and_a_better_verdict_never_lowers_it(rubrics, at, more):
    at %= len(rubrics)
    better = rubrics[at].model_copy(update={"score": min(1.0, rubrics[at].score + more)})
    raised = [*rubrics[:at], better, *rubrics[at + 1 :]]
    assert 0 <= rubric_reward(rubrics) <= rubric_reward(raised) + 1e-12 <= 1 + 1e-12


@given(rubric_lists, st.randoms(use_true_random=False), st.floats(0.5, 2.0))
def test_neither_order_nor_scale_of_the_weights_matters(rubrics, random, factor):
    others = [r.model_copy(update={"weight": r.weight * factor}) for r in rubrics]
    random.shuffle(others)
    if math.fsum(r.weight for r in others) > 0:
        assert rubric_reward(others) == pytest.approx(rubric_reward(rubrics), abs=1e-9)
