"""What a long run tells the person who watches it, on standard error."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from citemark_service.cli.printable import plain

_COMPLAINTS = 20


def count_rows(path: Path) -> int:
    """Lines of a file that are not blank."""
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


class Progress:
    """A bar on a terminal, silence in a pipe; complaints are shown in both, the first twenty."""

    def __init__(self, console: Console, total: int | None, doing: str = "scoring") -> None:
        self._console = console
        self._complaints = 0
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(doing, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
        hidden = self._complaints - _COMPLAINTS
        if hidden > 0:
            self._console.print(f"… and {hidden} more like these")

    def advance(self) -> None:
        """One row is done."""
        self._bar.advance(self._task)

    def complain(self, text: str) -> None:
        """Say what is wrong with one row."""
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            self._console.print(plain(text, "red"))
