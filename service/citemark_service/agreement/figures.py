"""Figures of agreement between scores and labels, None where undefined. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

FIXED_THRESHOLD = 0.5  # scores of at least this are positive


@dataclass(frozen=True, slots=True)
class LabelledScore:
    """The judge's score and the human label of one row, both in [0, 1]."""

    score: float
    label: float

    @property
    def positive(self) -> bool:
        """Whether the label is above one half: partial support is negative."""
        return self.label > 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of agreement, None where undefined; accuracy and AUC need rows of both classes."""

    rows: int
    positives: int
    balanced_accuracy: float | None  # in [0, 1], at the fixed threshold
    threshold_best: float | None  # chosen on the same rows, so its accuracy is optimistic
    balanced_accuracy_best: float | None  # in [0.5, 1], at `threshold_best`
    auc: float | None  # in [0, 1], ties count half
    pearson: float | None  # in [-1, 1]; None where scores or labels are constant
    kappa: float | None  # in [-1, 1]; None where scores and labels are all of one class


def _count_classes(pairs: Sequence[LabelledScore]) -> tuple[int, int]:
    positives = sum(pair.positive for pair in pairs)
    return positives, len(pairs) - positives


def auc(pairs: Sequence[LabelledScore]) -> float | None:
    """Probability that a positive outscores a negative, ties half (Mann-Whitney U, by ranks)."""
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    doubled_ranks = passed = 0  # twice the rank sum, an integer even with ties
    ordered = sorted(pairs, key=lambda pair: pair.score)
    for _, group in groupby(ordered, key=lambda pair: pair.score):
        tied = list(group)
        doubled_ranks += (2 * passed + len(tied) + 1) * sum(pair.positive for pair in tied)
        passed += len(tied)
    return (doubled_ranks - positives * (positives + 1)) / (2 * positives * negatives)


def balanced_accuracy(pairs: Sequence[LabelledScore], threshold: float) -> float | None:
    """Mean recall of both classes, where a score of at least `threshold` is positive."""
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    hits = sum(pair.score >= threshold for pair in pairs if pair.positive)
    passes = sum(pair.score < threshold for pair in pairs if not pair.positive)
    return (hits / positives + passes / negatives) / 2


def best_threshold(pairs: Sequence[LabelledScore]) -> tuple[float, float] | None:
    """The score that, as a threshold, gives the highest balanced accuracy, and that accuracy.

    Of equally good thresholds it is the lowest.
    """
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    ordered = sorted(pairs, key=lambda pair: pair.score)
    below = list(accumulate((pair.positive for pair in ordered), initial=0))
    best = (ordered[0].score, 0.5)  # the lowest score calls all rows positive
    for place, pair in enumerate(ordered):
        if place and pair.score == ordered[place - 1].score:
            continue
        recall = (positives - below[place]) / positives
        accuracy = (recall + (place - below[place]) / negatives) / 2
        best = max(best, (pair.score, accuracy), key=lambda found: found[1])
    return best


def pearson(pairs: Sequence[LabelledScore]) -> float | None:
    """Correlation of the scores with the graded labels."""
    scores, labels = [pair.score for pair in pairs], [pair.label for pair in pairs]
    # Tested exactly: a mean of equal floats may differ from them, and its error would correlate.
    if len(set(scores)) < 2 or len(set(labels)) < 2:
        return None
    try:
        return min(1.0, max(-1.0, statistics.correlation(scores, labels)))
    except statistics.StatisticsError:  # the squares are too small for floats
        return None


def kappa(pairs: Sequence[LabelledScore]) -> float | None:
    """Cohen's kappa of scores and labels, both cut at 0.5."""
    if not pairs:
        return None
    called = sum(pair.score >= FIXED_THRESHOLD for pair in pairs) / len(pairs)
    labelled = sum(pair.positive for pair in pairs) / len(pairs)
    agreed = sum((pair.score >= FIXED_THRESHOLD) == pair.positive for pair in pairs) / len(pairs)
    chance = called * labelled + (1 - called) * (1 - labelled)
    return (agreed - chance) / (1 - chance) if chance < 1 else None


def compute_figures(pairs: Sequence[LabelledScore]) -> Figures:
    threshold_best, accuracy_best = best_threshold(pairs) or (None, None)
    return Figures(
        rows=len(pairs),
        positives=_count_classes(pairs)[0],
        balanced_accuracy=balanced_accuracy(pairs, FIXED_THRESHOLD),
        threshold_best=threshold_best,
        balanced_accuracy_best=accuracy_best,
        auc=auc(pairs),
        pearson=pearson(pairs),
        kappa=kappa(pairs),
    )
