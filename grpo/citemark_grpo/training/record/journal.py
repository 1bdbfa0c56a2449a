"""One JSON line a step, on the disk before the next step begins.

    {"step": 12, "time": 1789…, "rewards": [0.61, null, …], "metrics": {"score/reward": 0.58, …}}

`rewards` are of the rollouts that were generated for this step, before the verification scale;
null where the judge failed, empty where the step used rollouts of an earlier one. A full disk
delays lines, it never ends the run: they wait in memory and are written with the next that fits.
"""

import json
import logging
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from citemark_grpo.training.survival.storage import Outlived

_log: Final = logging.getLogger(__name__)
_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """What one step brought."""

    step: int
    time: float
    """Unix seconds."""
    rewards: Sequence[float | None]
    metrics: Mapping[str, float]
    """Finite numbers only."""


def finite(values: Mapping[str, object]) -> dict[str, float]:
    """The finite numbers among some values."""
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def lines(journal: Path) -> Iterator[Line]:
    """The journal's lines in order; ends at the first one that is torn.

    Raises:
        FileNotFoundError: there is no journal.
    """
    with journal.open("rb") as file:
        for raw in file:
            line = _parsed(raw)
            if line is None:
                return
            yield line


def _parsed(raw: bytes) -> Line | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        return Line(**json.loads(raw))
    except (ValueError, TypeError):
        return None


class Journal:
    """Appends lines to a file; the one writer of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`: a run that resumes there writes them again."""
        self._waiting.clear()
        if not self._path.exists():
            return
        with self._path.open("r+b") as file:
            file.truncate(_end(file, step))
            os.fsync(file.fileno())

    def add(self, line: Line) -> None:
        """Write a line, and those that wait before it, and sync the file."""
        self._waiting.append(json.dumps(asdict(line), allow_nan=False).encode() + b"\n")
        with Outlived("the journal", _log):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                _append(file.fileno(), b"".join(self._waiting))
            self._waiting.clear()


def _append(descriptor: int, data: bytes) -> None:
    """Write all or nothing: what a full disk cut short is taken back."""
    start = os.fstat(descriptor).st_size
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, start)
        raise


def _end(file: Iterator[bytes], step: int) -> int:
    """Where the lines up to `step` end, in bytes."""
    end = 0
    for raw in file:
        line = _parsed(raw)
        if line is None or line.step > step:
            return end
        end += len(raw)
    return end
