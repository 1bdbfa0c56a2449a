"""A run's curves from the sums of its steps. Pure."""

import math
from collections.abc import Sequence

from citemark_service.ledger.reading import Record
from citemark_service.web.ui.charts import Chart, Line


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
    spreads = [(mean(row, "reward_sum", "rewarded"), deviation(row)) for row in rows]
    low, high = (
        [None if m is None or d is None else m + sign * d for m, d in spreads] for sign in (-1, 1)
    )
    line = Line("mean reward", [centre for centre, _ in spreads])
    return Chart("Reward", _steps(rows), [line], band=(low, high), floor=0.0)


def component_charts(rows: Sequence[Record]) -> list[Chart]:
    """What the reward is made of and what disturbs it, a small chart each."""
    steps = _steps(rows)

    def means(label: str, total: str, count: str, tone: int) -> Line:
        return Line(label, [mean(row, total, count) for row in rows], tone)

    shares = {
        "Rubrics": means("mean", "rubric_sum", "judged", 1),
        "Citation F1": means("mean", "f1_sum", "cited", 2),
        "Format": means("mean", "format_sum", "rollouts", 3),
    }
    amounts = {
        "Failed and refused": [
            means("failed", "failed", "rollouts", 4),
            means("refused", "refused", "rollouts", 3),
        ],
        "Length": [means("mean characters", "chars_sum", "rollouts", 2)],
        "Spread within the step": [Line("standard deviation", list(map(deviation, rows)))],
    }
    return [
        *(Chart(title, steps, [line], floor=0.0, ceiling=1.0) for title, line in shares.items()),
        *(Chart(title, steps, lines, floor=0.0) for title, lines in amounts.items()),
    ]


def _steps(rows: Sequence[Record]) -> list[int]:
    return [row["last"] for row in rows]
