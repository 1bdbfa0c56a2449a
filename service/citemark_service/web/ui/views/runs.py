"""The first page: every run with a small curve. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from citemark_service.ledger.reading import Record
from citemark_service.web.ui import charts, links
from citemark_service.web.ui.views.curves import mean
from citemark_service.web.ui.views.naming import number, run_title, when


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in the list."""

    title: str
    href: str
    curve: str
    reward: str
    steps: int
    rollouts: int
    trouble: str
    last: str


def run_line(row: Record, curve: Sequence[Record]) -> RunLine:
    """A run from its sums and its stretches."""
    rollouts = row["rollouts"] or 1
    trouble = [f"{row[kind] / rollouts:.0%} {kind}" for kind in ("failed", "refused") if row[kind]]
    return RunLine(
        title=run_title(row["run"]),
        href=links.run(row["run"]),
        curve=charts.sparkline([mean(each, "reward_sum", "rewarded") for each in curve]),
        reward=number(mean(row, "reward_sum", "rewarded")),
        steps=row["steps"],
        rollouts=row["rollouts"],
        trouble=", ".join(trouble) or "none",
        last=when(row["last_at"]),
    )
