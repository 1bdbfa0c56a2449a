"""A step: its distribution, its rubrics, its rollouts. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from citemark_service.ledger.reading import Record
from citemark_service.ledger.view import Sample
from citemark_service.web.ui.charts import Histogram
from citemark_service.web.ui.views.lists import Grade, grade
from citemark_service.web.ui.views.naming import OUTCOMES, state

_RUBRICS: Final = 60


@dataclass(frozen=True, slots=True)
class RubricMean:
    """One criterion over a step."""

    title: str
    polarity: str
    source: str
    grade: Grade
    rollouts: int


def distribution(rows: Sequence[Record]) -> Histogram | None:
    """The histogram of these rollouts' rewards, over their scale; None where there are none."""
    values = [row["reward"] for row in rows if row["reward"] is not None]
    return Histogram(values, min(0.0, *values), max(1.0, *values)) if values else None


def rubric_means(samples: Iterable[Sample]) -> list[RubricMean]:
    """Every criterion's mean score, static ones first, the most frequent first."""
    scores: dict[tuple[str, str, str], list[float]] = {}
    for sample in samples:
        for rubric in sample.verdicts.rubrics:
            key = (rubric.title, rubric.polarity, rubric.source)
            scores.setdefault(key, []).append(rubric.score)
    found = [
        RubricMean(*key, grade(math.fsum(values) / len(values)), len(values))
        for key, values in scores.items()
    ]
    return sorted(found, key=_prominence)[:_RUBRICS]


def outcomes(rows: Sequence[Record]) -> Mapping[str, int]:
    """How many of these rollouts were judged, refused and failed."""
    counts = Counter(map(state, rows))
    return {name: counts[name] for name in OUTCOMES}


def listed(rows: Sequence[Record], sort: str, show: str | None) -> list[Record]:
    """These rollouts, or those of one outcome, in one of the `ORDERS`."""
    shown = [row for row in rows if show in (None, state(row))]
    return sorted(shown, key=_ORDERS[sort])


def _worst(row: Record) -> tuple[float, ...]:
    """Judged ones first: the many that are refused all have the same reward."""
    return (OUTCOMES.index(state(row)), row["reward"] or 0.0)


def _best(row: Record) -> tuple[float, ...]:
    return (OUTCOMES.index(state(row)), -(row["reward"] or 0.0))


_ORDERS: Final[Mapping[str, Callable[[Record], tuple[float, ...]]]] = {
    "worst": _worst,
    "best": _best,
    "latest": lambda row: (-row["seq"],),
    "longest": lambda row: (-row["chars"],),
}
ORDERS: Final = tuple(_ORDERS)
"""Names of the orders of a step's rollouts."""


def _prominence(rubric: RubricMean) -> tuple[bool, int, str]:
    return (rubric.source != "static", -rubric.rollouts, rubric.title)
