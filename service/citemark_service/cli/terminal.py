"""Output to a terminal or a pipe."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Self, TypeVar

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from citemark_service.printable import printable

_COMPLAINTS: Final = 20
_Item = TypeVar("_Item")


def plain(text: str, style: str = "") -> Text:
    """Text without terminal escapes, and not parsed for rich's markup."""
    return Text(printable(text), style=style)


def count_noun(count: int, noun: str) -> str:
    """`1 row`, `2 rows`: for nouns with a plural in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def build_table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table with these columns, those of numbers to the right."""
    numeric = (Column(name, justify="right") for name in numbers)
    return Table(*texts, *numeric, box=None, pad_edge=False, header_style="bold")


def show(content: RenderableType) -> None:
    console = Console()
    if console.is_terminal:
        console.print(content)
        return
    # rich pads each line with blanks to the console's width.
    with console.capture() as capture:
        console.print(content)
    lines = capture.get().split("\n")
    click.echo("\n".join(line.rstrip(" ") for line in lines), nl=False)


class Progress:
    """A bar, on a terminal only; and complaints, the first twenty of them, everywhere."""

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
        self._bar.advance(self._task)

    def track(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for each in items:
            yield each
            self.advance()

    def complain(self, text: str) -> None:
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            self._console.print(plain(text, "red"))
