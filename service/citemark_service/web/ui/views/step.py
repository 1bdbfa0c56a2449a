"""A step: its distribution, its rubrics, its rollouts. Pure."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from citemark_service.ledger.reading import Record
from citemark_service.ledger.view import Sample
from citemark_service.web.ui import charts
from citemark_service.web.ui.charts import Bar, Tick
from citemark_service.web.ui.views.lists import Grade, grade
from citemark_service.web.ui.views.naming import OUTCOMES, number, state

_RUBRICS: Final = 60


@dataclass(frozen=True, slots=True)
class Distribution:
    """A step's rewards, over their scale, as a histogram."""

    bars: list[Bar]
    ticks: list[Tick]
    mean: float
    """Where along the histogram the mean stands."""
    told: str


@dataclass(frozen=True, slots=True)
class RubricMean:
    """One criterion over a step."""

    title: str
    polarity: str
    source: str
    grade: Grade
    rollouts: int


def distribution(rows: Sequence[Record]) -> Distribution | None:
    """The histogram of these rollouts' rewards; None where there are none."""
    values = [row["reward"] for row in rows if row["reward"] is not None]
    if not values:
        return None
    low, high = min(0.0, *values), max(1.0, *values)
    centre = math.fsum(values) / len(values)
    return Distribution(
        bars=charts.histogram(values, low, high),
        ticks=charts.axis(low, high),
        mean=charts.place(centre, low, high),
        told=f"{len(values)} rewards from {number(min(values), 2)} to {number(max(values), 2)}, "
        f"mean {number(centre, 2)}",
    )


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
