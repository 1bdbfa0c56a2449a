"""The figures of agreement, against values worked out by hand and by their invariants."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.agreement.figures import LabelledScore as Pair
from citemark_service.agreement.figures import (
    auc,
    balanced_accuracy,
    best_threshold,
    compute_figures,
    confuse,
    find_interval,
    kappa,
    pearson,
    resample,
    weighted_kappa,
)

# Scores and labels: three positives, two negatives; a half label is not positive.
WORKED = [Pair(0.9, 1.0), Pair(0.5, 1.0), Pair(0.2, 1.0), Pair(0.5, 0.5), Pair(0.1, 0.0)]

unit = st.integers(0, 20).map(lambda twentieth: twentieth / 20)
pairs = st.lists(st.builds(Pair, unit, st.sampled_from((0.0, 0.5, 1.0))), max_size=40)
both_classes = pairs.filter(lambda found: len({pair.positive for pair in found}) == 2)


def test_the_figures_worked_out_by_hand() -> None:
    # Six positive-negative pairs: .9 beats two, .5 beats one and ties one, .2 beats one.
    assert auc(WORKED) == pytest.approx(4.5 / 6)
    # At .5: two of three positives, one of two negatives.
    assert balanced_accuracy(WORKED, 0.5) == pytest.approx((2 / 3 + 1 / 2) / 2)
    # At .2: all positives, one of two negatives.
    assert best_threshold(WORKED) == (0.2, pytest.approx(0.75))
    # Called positive: .9 .5 .5; labelled: three. Agreement 3/5, chance .6 * .6 + .4 * .4.
    assert kappa(WORKED) == pytest.approx((0.6 - 0.52) / 0.48)
    assert pearson([Pair(0.0, 0.0), Pair(0.5, 1.0), Pair(1.0, 0.5)]) == pytest.approx(0.5)
    # Levels of labels 2 2 2 1 0 and scores 2 1 0 1 0: squares 0 1 4 0 0, which sum to 5. By chance
    # labels (1, 1, 3 of each level) meet scores (2, 2, 1): 2 + 4 + 2 + 1 + 24 + 6, over five rows.
    assert confuse(WORKED) == ((1, 0, 0), (0, 1, 0), (1, 1, 1))
    assert weighted_kappa(WORKED) == pytest.approx(1 - 5 / (39 / 5))
    found = compute_figures(WORKED)
    assert found.brier == pytest.approx((0.01 + 0.25 + 0.64 + 0 + 0.01) / 5)
    # Bins of .1, .2, .5 and .9: distances .1, .8, |.5 - .75| twice, .1.
    assert found.calibration_error == pytest.approx((0.1 + 0.8 + 2 * 0.25 + 0.1) / 5)


@pytest.mark.parametrize("rows", [[], [Pair(0.3, 1.0)], [Pair(0.3, 0.0), Pair(0.9, 0.5)]])
def test_one_class_or_a_constant_side_leaves_figures_undefined(rows):
    found = compute_figures(rows)
    assert (found.auc, found.balanced_accuracy, found.threshold_best) == (None, None, None)
    assert pearson([Pair(0.1, 0.0), Pair(0.1, 1.0), Pair(0.1, 1.0)]) is None
    assert kappa([Pair(0.9, 1.0), Pair(0.8, 1.0)]) is None


@given(both_classes)
def test_the_best_threshold_is_at_least_as_good_as_any(rows):
    threshold, accuracy = best_threshold(rows) or pytest.fail("both classes are there")
    assert balanced_accuracy(rows, threshold) == pytest.approx(accuracy)
    tried = [balanced_accuracy(rows, twentieth / 20) or 0.0 for twentieth in range(21)]
    assert accuracy >= max(tried) - 1e-12


@given(both_classes)
def test_auc_is_the_share_of_pairs_in_order(rows):
    above = [pair.score for pair in rows if pair.positive]
    below = [pair.score for pair in rows if not pair.positive]
    wins = [(a > b) + (a == b) / 2 for a in above for b in below]
    assert auc(rows) == pytest.approx(sum(wins) / len(wins))


@given(pairs)
def test_the_correlation_is_that_of_scores_and_labels(rows):
    found = pearson(rows)
    if found is not None:
        scores, labels = [pair.score for pair in rows], [pair.label for pair in rows]
        assert found == pytest.approx(statistics.correlation(scores, labels), abs=1e-9)


@given(pairs, st.randoms())
def test_the_order_of_rows_does_not_matter(rows, random):
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert compute_figures(shuffled) == compute_figures(rows)


@given(both_classes)
def test_labels_as_scores_agree_fully(rows):
    cut = [Pair(float(pair.positive), pair.label) for pair in rows]
    found = compute_figures(cut)
    assert (found.auc, found.balanced_accuracy_best, found.kappa) == (1.0, 1.0, 1.0)


def test_the_bootstrap_draws_whole_groups_and_covers_the_mean():
    groups = [[Pair(score / 50, score / 50)] * 2 for score in range(50)]
    means = []
    for sample in resample(groups, rounds=400):
        assert sample[::2] == sample[1::2]
        means.append(statistics.fmean(pair.score for pair in sample))
    low, high = find_interval(means) or pytest.fail("there are 400 values")
    # The standard error of a mean of 50 uniform values is .29 / sqrt(50).
    assert low < 0.49 < high
    assert high - low == pytest.approx(4 * 0.289 / 50**0.5, rel=0.15)
