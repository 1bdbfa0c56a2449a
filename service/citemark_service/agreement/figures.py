"""Figures of agreement between a judge's scores and labels by people. Pure."""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from statistics import fmean, quantiles
from typing import TypeVar

Row = TypeVar("Row")
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


Confusion = tuple[tuple[int, ...], ...]
"""Numbers of rows by level, 0 to 2: of the label, then of the score."""


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
    weighted_kappa: float | None  # of the three levels, with quadratic weights
    bias: float | None  # mean of score - label, in [-1, 1]
    brier: float | None  # mean squared distance of score and label, in [0, 1]
    calibration_error: float | None  # in [0, 1], see `calibrate`
    confusion: Confusion


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


def bias(pairs: Sequence[LabelledScore]) -> float | None:
    """How much higher the scores are than the labels, on average."""
    return fmean(pair.score - pair.label for pair in pairs) if pairs else None


def kappa(pairs: Sequence[LabelledScore]) -> float | None:
    """Cohen's kappa of scores and labels, both cut at 0.5."""
    if not pairs:
        return None
    called = sum(pair.score >= FIXED_THRESHOLD for pair in pairs) / len(pairs)
    labelled = sum(pair.positive for pair in pairs) / len(pairs)
    agreed = sum((pair.score >= FIXED_THRESHOLD) == pair.positive for pair in pairs) / len(pairs)
    chance = called * labelled + (1 - called) * (1 - labelled)
    return (agreed - chance) / (1 - chance) if chance < 1 else None


def to_level(score: float) -> int:
    """The nearest of 0, 1 and 2 halves; between two the upper."""
    return math.floor(2 * score + 0.5)


def confuse(pairs: Sequence[LabelledScore]) -> Confusion:
    counts = Counter((to_level(pair.label), to_level(pair.score)) for pair in pairs)
    return tuple(tuple(counts[label, score] for score in range(3)) for label in range(3))


def weighted_kappa(pairs: Sequence[LabelledScore]) -> float | None:
    """Cohen's kappa of the levels, a disagreement weighing its distance squared."""
    counts = confuse(pairs)
    labels, scores = [sum(row) for row in counts], [sum(row) for row in zip(*counts, strict=True)]
    apart = [(i, j, (i - j) ** 2) for i in range(3) for j in range(3)]
    chance = sum(weight * labels[i] * scores[j] for i, j, weight in apart)
    observed = sum(weight * counts[i][j] for i, j, weight in apart) * len(pairs)
    return 1 - observed / chance if chance else None


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of similar scores: how many, and their mean score and label."""

    rows: int
    score: float
    label: float


def calibrate(pairs: Sequence[LabelledScore], bins: int = 10) -> tuple[Bin, ...]:
    """The reliability curve: rows by score in equal bins, empty ones left out.

    The expected calibration error is the mean distance of a bin's score and label, by its rows.
    """
    held: defaultdict[int, list[LabelledScore]] = defaultdict(list)
    for pair in pairs:
        held[min(bins - 1, int(pair.score * bins))].append(pair)
    return tuple(
        Bin(len(each), fmean(p.score for p in each), fmean(p.label for p in each))
        for _, each in sorted(held.items())
    )


def compute_figures(pairs: Sequence[LabelledScore]) -> Figures:
    threshold_best, accuracy_best = best_threshold(pairs) or (None, None)
    apart = sum(each.rows * abs(each.score - each.label) for each in calibrate(pairs))
    return Figures(
        rows=len(pairs),
        positives=_count_classes(pairs)[0],
        balanced_accuracy=balanced_accuracy(pairs, FIXED_THRESHOLD),
        threshold_best=threshold_best,
        balanced_accuracy_best=accuracy_best,
        auc=auc(pairs),
        pearson=pearson(pairs),
        kappa=kappa(pairs),
        weighted_kappa=weighted_kappa(pairs),
        bias=bias(pairs),
        brier=fmean((pair.score - pair.label) ** 2 for pair in pairs) if pairs else None,
        calibration_error=apart / len(pairs) if pairs else None,
        confusion=confuse(pairs),
    )


def resample(groups: Sequence[Sequence[Row]], rounds: int = 1000) -> Iterator[list[Row]]:
    """Bootstrap samples of whole groups, the same ones each time: rows of a group are dependent."""
    draw = random.Random(0)  # noqa: S311 - reproducible, not secret
    for _ in range(rounds if groups else 0):
        yield [row for group in draw.choices(groups, k=len(groups)) for row in group]


def find_interval(values: Iterable[float | None]) -> tuple[float, float] | None:
    """The middle 95 % of the values that are defined; None of fewer than two."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    edges = quantiles(known, n=40, method="inclusive")
    return edges[0], edges[-1]
