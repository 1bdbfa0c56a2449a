"""Output for a person at a terminal: safe text, whole lines in pipes, and progress."""

from collections.abc import Iterable, Iterator
from typing import Final, Self, TypeVar

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from citemark_service.printable import printable

_COMPLAINTS: Final = 20
_Item = TypeVar("_Item")


def plain(text: str, style: str = "") -> Text:
    """Text without escapes that could steer a terminal, which rich does not read for markup."""
    return Text(printable(text), style=style)


def count_noun(count: int, noun: str) -> str:
    """`1 row`, `2 rows`: for nouns that an s makes plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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

    def track(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items; each counts as done when the next is asked for."""
        for each in items:
            yield each
            self.advance()

    def complain(self, text: str) -> None:
        """Print what is wrong with one row."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            self._console.print(plain(text, "red"))
