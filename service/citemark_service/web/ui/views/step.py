"""A step: its distribution, its rubrics, its samples. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from citemark_service.ledger.reading import Record
from citemark_service.ledger.view import Sample
from citemark_service.web.ui import charts
from citemark_service.web.ui.charts import Bar, Tick
from citemark_service.web.ui.views.lists import Grade, grade

_RUBRICS = 60


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
        told=f"{len(values)} rewards from {min(values):.2f} to {max(values):.2f}, "
        f"mean {centre:.2f}",
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


def _prominence(rubric: RubricMean) -> tuple[bool, int, str]:
    return (rubric.source != "static", -rubric.rollouts, rubric.title)
