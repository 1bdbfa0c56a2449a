"""Where results go: standard output, or a file that a later run can complete.

A file always holds whole lines: a run first drops what an interrupted one left behind (a cut
last line, results without a reward), atomically, and then only appends.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol

from pydantic import ValidationError

from citemark_schemas import ScoreResult
from citemark_service.cli.resume import Made, Making
from citemark_service.errors import DataError

_OPENING = b'{"id":'


class Outcomes(Protocol):
    """Takes results as they come."""

    @property
    def name(self) -> str:
        """Where they go, for messages."""
        ...

    @property
    def kept(self) -> Mapping[str, Made]:
        """By id, what an earlier run has scored."""
        ...

    def write(self, result: ScoreResult) -> None:
        """Add one result."""
        ...

    def settle(self, order: Sequence[str]) -> None:
        """The run is complete; `order` is that of the input's ids."""
        ...

    def close(self) -> None:
        """Release the file, complete or not."""
        ...


class _Writable(Protocol):
    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True)
class _Extent:
    offset: int
    size: int


class StreamOutcomes:
    """Results on standard output, as they finish."""

    name = "standard output"
    kept: Mapping[str, Made] = MappingProxyType({})

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, result: ScoreResult) -> None:
        """Write one line and flush it."""
        self._stream.write(_line(result))
        self._stream.flush()

    def settle(self, order: Sequence[str]) -> None:
        """Nothing: what is written is written."""

    def close(self) -> None:
        """Nothing: the stream is not ours."""


class FileOutcomes:
    """Results in a file that is resumed. Raises `DataError` or `OSError` when it is opened."""

    def __init__(self, path: Path) -> None:
        # A symbolic link stays one: its target is replaced.
        self._path = path.resolve()
        self.name = path.name
        self.kept: dict[str, Made] = {}
        self._making = Making()
        self._extents: dict[str, _Extent] = {}
        if self._path.exists():
            self._replace(self._finished())
        self._file = self._path.open("ab")
        self._end = self._file.tell()

    def write(self, result: ScoreResult) -> None:
        """Append one line and hand it to the operating system."""
        self._add(self._file, result.id, _line(result))
        self._file.flush()

    def settle(self, order: Sequence[str]) -> None:
        """Put the results into the input's order, those of other inputs first, and close."""
        self.close()
        ranks = {name: rank for rank, name in enumerate(order)}
        wanted = dict(sorted(self._extents.items(), key=lambda item: ranks.get(item[0], -1)))
        alone = sum(extent.size for extent in wanted.values()) == self._end
        if not alone or list(wanted) != list(self._extents):
            with self._path.open("rb") as source:
                self._replace((name, _slice(source, wanted[name])) for name in wanted)

    def close(self) -> None:
        """Close the file; a later run can complete it."""
        self._file.close()

    def _finished(self) -> Iterator[tuple[str, bytes]]:
        with self._path.open("rb") as source:
            for number, raw in enumerate(source, start=1):
                result = self._result(number, raw)
                if result is not None and result.reward is not None:
                    self.kept[result.id] = self._making.of(result)
                    yield result.id, raw.rstrip(b"\r\n") + b"\n"

    def _result(self, number: int, raw: bytes) -> ScoreResult | None:
        """One line's result; None where it is blank or was cut short by an interruption."""
        if not raw.strip():
            return None
        try:
            return ScoreResult.model_validate_json(raw)
        except ValidationError as error:
            if not raw.endswith(b"\n") and raw[: len(_OPENING)] == _OPENING[: len(raw)]:
                return None
            raise DataError(
                f"{self._path}, line {number}: is no result of this version; "
                "move the file away or name another output"
            ) from error

    def _replace(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Swap in a file of these lines; whatever happens, the old one or the new one is there."""
        self._extents, self._end = {}, 0
        with tempfile.NamedTemporaryFile(
            dir=self._path.parent, prefix=f".{self._path.name}.", delete=False
        ) as fresh:
            scratch = Path(fresh.name)
            try:
                for name, line in lines:
                    self._add(fresh, name, line)
                fresh.flush()
                os.fsync(fresh.fileno())
                scratch.chmod(self._path.stat().st_mode)
                scratch.replace(self._path)
            finally:
                scratch.unlink(missing_ok=True)

    def _add(self, file: _Writable, name: str, line: bytes) -> None:
        file.write(line)
        self._extents.pop(name, None)
        self._extents[name] = _Extent(self._end, len(line))
        self._end += len(line)


def _line(result: ScoreResult) -> bytes:
    return result.model_dump_json().encode() + b"\n"


def _slice(source: BinaryIO, extent: _Extent) -> bytes:
    source.seek(extent.offset)
    return source.read(extent.size)
