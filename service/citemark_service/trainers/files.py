"""Files of rows, read and written one row at a time: JSON lines and Parquet, by their ending.

A file that is written appears under its name only when it is complete.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from pydantic_core import from_json, to_json

from citemark_service.errors import DataError
from citemark_service.trainers.shapes import Shape

_LONGEST_LINE: Final = 64 * 1024 * 1024
_PIECE: Final = 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
LINES: Final = (".jsonl", ".ndjson", ".json")
PARQUET: Final = ".parquet"


@dataclass(frozen=True, slots=True)
class Numbered:
    """One row of a file, or why it is none."""

    unit: str
    """`line`, or `row` of a table."""
    number: int
    """Counted from 1."""
    row: Mapping[str, Any] | None
    problem: str = ""

    @property
    def place(self) -> str:
        """For messages: `line 7`."""
        return f"{self.unit} {self.number}"


class RowWriter(Protocol):
    """Takes rows in order."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row.

        Raises:
            ValueError: the file cannot hold it; nothing of it was written.
        """
        ...


def suffix_of(path: Path) -> str:
    """The ending that says what a file holds.

    Raises:
        DataError: it is neither that of JSON lines nor that of Parquet.
    """
    suffix = path.suffix.lower()
    if suffix == PARQUET:
        return suffix
    if suffix in LINES:
        return LINES[0]
    raise DataError(f"{path}: must end in {', '.join(LINES)} (JSON lines) or {PARQUET}")


def rows_of(path: Path) -> Iterator[Numbered]:
    """The rows of a file in order; blank lines are none.

    Raises:
        DataError: the file cannot be read at all.
    """
    if suffix_of(path) == PARQUET:
        from citemark_service.trainers import parquet  # noqa: PLC0415 - an extra of its own

        return parquet.table_rows(path)
    return _line_rows(path)


def count_of(path: Path) -> int:
    """How many rows a file has, good or bad.

    Raises:
        DataError: the file cannot be read at all.
    """
    if suffix_of(path) == PARQUET:
        from citemark_service.trainers import parquet  # noqa: PLC0415 - an extra of its own

        return parquet.table_length(path)
    with _opened(path) as file:
        return sum(1 for line in _lines(file) if line is None or line.strip())


def writing(path: Path, columns: Mapping[str, Shape]) -> AbstractContextManager[RowWriter]:
    """A writer of the file at `path`, which is there once the context ends without an error.

    Raises:
        DataError: it cannot be written.
    """
    if suffix_of(path) == PARQUET:
        from citemark_service.trainers import parquet  # noqa: PLC0415 - an extra of its own

        return parquet.table_writing(path, columns)
    return _line_writing(path)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the context ends without an error.

    Otherwise what was at `path` stays, and nothing else is left behind.

    Raises:
        DataError: it cannot be written.
    """
    target = path.resolve()  # a symbolic link stays one: its target is replaced
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with scratch.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            scratch.chmod(target.stat().st_mode)
        scratch.replace(target)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def _line_rows(path: Path) -> Iterator[Numbered]:
    with _opened(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                told = f"is longer than {_LONGEST_LINE // 2**20} MiB"
                yield Numbered("line", number, None, told)
            elif line.strip():
                yield _read(number, line)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines, with None for one that is too long to be held."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_PIECE)) and not rest.endswith(b"\n"):
                continue
            yield None
        else:
            yield line.removeprefix(_BOM)


def _read(number: int, line: bytes) -> Numbered:
    try:
        # Unlike json, it refuses lone surrogates, which no request could be written with.
        row = from_json(line)
    except ValueError as error:
        return Numbered("line", number, None, f"is not JSON: {error}")
    if not isinstance(row, dict):
        return Numbered("line", number, None, "is not a JSON object")
    return Numbered("line", number, row)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class _LineWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one line."""
        self._file.write(to_json(row) + b"\n")


@contextmanager
def _line_writing(path: Path) -> Iterator[RowWriter]:
    with replacing(path) as file:
        yield _LineWriter(file)
