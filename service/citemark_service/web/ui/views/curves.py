"""A run's curves from the sums of its steps. Pure."""

import math
from collections.abc import Sequence

from citemark_service.ledger.reading import Record
from citemark_service.web.ui.charts import Band, Chart, Line, Values, chart


def mean(row: Record, total: str, count: str) -> float | None:
    """A sum over its count; None where nothing was counted."""
    return row[total] / row[count] if row[count] else None


def deviation(row: Record) -> float | None:
    """The standard deviation of a step's rewards, of the whole step and not estimated."""
    average = mean(row, "reward_sum", "rewarded")
    if average is None:
        return None
    return math.sqrt(max(0.0, row["reward_squares"] / row["rewarded"] - average**2))


def reward_chart(rows: Sequence[Record]) -> Chart:
    """The mean reward, with the area of one standard deviation around it."""
    means = _means(rows, "reward_sum", "rewarded")
    spreads = [deviation(row) for row in rows]
    low, high = _around(means, spreads, -1.0), _around(means, spreads, 1.0)
    return chart(
        "Reward",
        _steps(rows),
        [Line("mean reward", means)],
        band=Band("one standard deviation around it", low, high),
        floor=0.0,
    )


def component_charts(rows: Sequence[Record]) -> list[Chart]:
    """What the reward is made of and what disturbs it, a small chart each."""
    steps = _steps(rows)
    return [
        chart(title, steps, [Line("mean", values, tone)], floor=0.0, ceiling=ceiling)
        for title, values, tone, ceiling in (
            ("Rubrics", _means(rows, "rubric_sum", "judged"), 1, 1.0),
            ("Citation F1", _means(rows, "f1_sum", "cited"), 2, 1.0),
            ("Format", _means(rows, "format_sum", "rollouts"), 3, 1.0),
        )
    ] + [
        chart(
            "Failed and refused",
            steps,
            [
                Line("failed", _means(rows, "failed", "rollouts"), 4),
                Line("refused", _means(rows, "refused", "rollouts"), 3),
            ],
            floor=0.0,
        ),
        chart(
            "Length",
            steps,
            [Line("mean characters", _means(rows, "chars_sum", "rollouts"), 2)],
            floor=0.0,
        ),
        chart("Spread within the step", steps, [_spread(rows)], floor=0.0),
    ]


def _spread(rows: Sequence[Record]) -> Line:
    return Line("standard deviation", [deviation(row) for row in rows])


def _steps(rows: Sequence[Record]) -> list[int]:
    return [row["last"] for row in rows]


def _means(rows: Sequence[Record], total: str, count: str) -> list[float | None]:
    return [mean(row, total, count) for row in rows]


def _around(means: Values, spreads: Values, sign: float) -> list[float | None]:
    return [
        None if centre is None or spread is None else centre + sign * spread
        for centre, spread in zip(means, spreads, strict=True)
    ]
