"""Output for a person at a terminal: safe text, the levels of numbers, tables and progress."""

from pathlib import Path
from typing import Final, Self

import click
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from citemark_service.printable import printable
from citemark_service.score.explanation import Level, level_of, sign_of

GOOD, FAIR, POOR, UNKNOWN = "green", "yellow", "red", "dim"
_STYLES: Final = dict(zip(Level, (GOOD, FAIR, POOR, UNKNOWN), strict=True))
_COMPLAINTS: Final = 20


def plain(text: str, style: str = "") -> Text:
    """Text without escapes that could steer a terminal, which rich does not read for markup."""
    return Text(printable(text), style=style)


def count_noun(count: int, noun: str) -> str:
    """`1 row`, `2 rows`: for nouns that an s makes plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def style_of(value: float | None) -> str:
    """Colour of a value in [0, 1], by its level."""
    return _STYLES[level_of(value)]


def mark_value(value: float | None) -> Text:
    """A value with the sign of its level, as `✓ 0.93`, or `? –` where it was not judged."""
    shown = "–" if value is None else f"{value:.2f}"
    return Text(f"{sign_of(value)} {shown}", style=style_of(value))


def show(content: RenderableType) -> None:
    """Print to standard output; into a pipe or a file without the blanks that fill each line."""
    console = Console()
    if console.is_terminal:
        console.print(content)
        return
    with console.capture() as capture:
        console.print(content)
    lines = capture.get().split("\n")
    click.echo("\n".join(line.rstrip(" ") for line in lines), nl=False)


def count_lines(path: Path) -> int:
    """Lines of a file that are not blank."""
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


class Progress:
    """A bar on a terminal, silence in a pipe; complaints are shown in both, the first twenty."""

    def __init__(self, console: Console, total: int | None, doing: str = "scoring") -> None:
        self._console = console
        self._complaints = 0
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        hidden = not console.is_terminal
        self._bar = Bar("{task.description}", *columns, console=console, disable=hidden)
        self._task = self._bar.add_task(doing, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        hidden = self._complaints - _COMPLAINTS
        if hidden > 0:
            self._console.print(f"… and {hidden} more like these")

    def advance(self) -> None:
        """Count one row as done."""
        self._bar.advance(self._task)

    def complain(self, text: str) -> None:
        """Print what is wrong with one row."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            self._console.print(plain(text, "red"))
