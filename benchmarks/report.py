"""What was measured, beside the bars that it is held to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table
from rich.text import Text

KEYS: Final = (
    *(
        f"{step}_{what}"
        for step in ("apart", "grouped")
        for what in (
            "floor_ms",
            "batch_over_floor",
            "singles_over_floor",
            "stream_over_floor",
            "defaults_over_plain",
            "rollouts_per_s",
            "calls",
            "completion_tokens",
        )
    ),
    *(
        f"{what}_{call}_{way}"
        for what in ("step_over_ideal", "first_call_ms")
        for call in ("200ms", "50ms")
        for way in ("batch", "singles")
    ),
    "lone_p99_ms",
    "prompt_tokens_per_rollout",
    "prefix_hit_ratio",
    "rss_mb",
)
"""Numbers that are compared from run to run."""
_MESSAGE: Final = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One number and, where there is one, its bar."""

    name: str
    value: float
    bar: float | None = None
    at_least: bool = False
    note: str = ""
    key: str | None = None
    """Its name in the JSON record, one of `KEYS`; None leaves it out."""

    @property
    def holds(self) -> bool | None:
        """None without a bar."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar


@dataclass(frozen=True, slots=True)
class Broken:
    """A part that failed, with its reason."""

    part: str
    reason: str


def run_part(name: str, part: Callable[[], Iterable[Line]]) -> list[Line | Broken]:
    """The part's lines; after a failure those that it had, and the failure."""
    found: list[Line | Broken] = []
    try:
        found.extend(part())
    except Exception as error:  # noqa: BLE001 - whatever breaks one part must not lose the others
        reason = f"{type(error).__name__}: {error}"[:_MESSAGE]
        found.append(Broken(name, reason))
    return found


def record(rows: Iterable[Line | Broken]) -> dict[str, float | None]:
    """The numbers of `KEYS`; null where their part was skipped or failed."""
    values = {row.key: row.value for row in rows if isinstance(row, Line)}
    return {key: values.get(key) for key in KEYS}


def table(rows: Sequence[Line | Broken]) -> Table:
    """The lines with their bars, and how far each is from its own."""
    shown = Table(box=None, pad_edge=False)
    shown.add_column("measured")
    for name in ("value", "bar", "value / bar"):
        shown.add_column(name, justify="right")
    shown.add_column("holds")
    shown.add_column("note")
    for row in rows:
        if isinstance(row, Broken):
            shown.add_row(Text(row.part), "-", "", "", "FAILED", Text(row.reason))
        else:
            shown.add_row(*_cells(row))
    return shown


def _cells(line: Line) -> tuple[str, ...]:
    if line.bar is None:
        return line.name, _number(line.value), "", "", "", line.note
    bar = f"{'≥' if line.at_least else '≤'} {_number(line.bar)}"
    ratio = f"{line.value / line.bar:.2f}" if line.bar else ""
    return line.name, _number(line.value), bar, ratio, "yes" if line.holds else "NO", line.note


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
