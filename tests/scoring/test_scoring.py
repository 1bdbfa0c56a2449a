"""Rubric score, flips and the reward's sum."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import (
    CitationScore,
    Criterion,
    CriterionVerdict,
    FormatReport,
    Knobs,
    Polarity,
    RubricScore,
    ScoreResult,
)
from citemark_service.parsing.parsed import Answer
from citemark_service.score.formula import add_reward, rubric_reward, score_criterion
from support.scripted_service import scored as scored_result

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


def judged(rubric: float, citation: float | None, bonus: float, **knobs: float) -> ScoreResult:
    whole = {"recall": 1, "precision": 1, "f1": 1, "claims": 1, "uncited_factual": 0.0}
    counts = {"citations": 1, "fabricated": 0, "malformed": 0, "duplicates": 0}
    draft = scored_result("a").model_copy(
        update={
            "rubric_reward": rubric,
            "citation": None
            if citation is None
            else CitationScore(score=citation, **whole, **counts),
            "format": FormatReport(checks={}, bonus=bonus),
            "knobs": Knobs(**knobs),
        }
    )
    return add_reward(draft, Answer())


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, 0.5 + 0.2 * 0.4),
        ({"verification_reward": 10.0}, 10 * (0.5 + 0.2 * 0.4)),
        ({"citation_weight": 1.0}, 0.9),
        ({"gate_judge_score_with_format_bonus": True}, 0.5 * 0.75 + 0.2 * 0.4),
    ],
)
def test_the_sum(knobs, expected):
    assert judged(0.5, 0.4, 0.75, **knobs).reward == pytest.approx(expected)


def test_the_citation_term_can_be_off():
    assert judged(0.5, None, 1.0).reward == 0.5


@given(rubric_lists, units, units)
def test_rewards_are_finite_and_in_range(rubrics, citation, bonus):
    assert 0 <= rubric_reward(rubrics) <= 1
    for scale in (1.0, 10.0):
        result = judged(rubric_reward(rubrics), citation, bonus, verification_reward=scale)
        assert result.reward is not None
        assert 0 <= result.reward <= scale * 1.2 + 1e-9


@given(rubric_lists, st.data())
def test_a_better_verdict_never_lowers_the_score(rubrics, data):
    position = data.draw(st.integers(0, len(rubrics) - 1))
    old = rubrics[position]
    better = min(1.0, old.score + data.draw(units))
    raised = [*rubrics]
    raised[position] = old.model_copy(update={"score": better})
    assert rubric_reward(raised) >= rubric_reward(rubrics) - 1e-12


@given(units, units)
def test_a_worse_defect_never_raises_the_score(low, high):
    low, high = sorted((low, high))
    assert scored(high, 1.0, Polarity.NEGATIVE).score <= scored(low, 1.0, Polarity.NEGATIVE).score


@given(rubric_lists, st.randoms(use_true_random=False))
def test_order_does_not_matter(rubrics, random):
    shuffled = random.sample(rubrics, len(rubrics))
    assert rubric_reward(shuffled) == pytest.approx(rubric_reward(rubrics), abs=1e-12)


@given(rubric_lists, st.floats(0.5, 2.0))
def test_only_relative_weights_matter(rubrics, factor):
    scaled = [r.model_copy(update={"weight": r.weight * factor}) for r in rubrics]
    if math.fsum(r.weight for r in scaled) > 0:
        assert rubric_reward(scaled) == pytest.approx(rubric_reward(rubrics), abs=1e-9)


def test_verdicts_outside_the_unit_interval_cannot_be_built():
    for bad in (1.5, -0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="score"):
            CriterionVerdict(score=bad)
