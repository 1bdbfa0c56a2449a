"""Reads and writes files of rows, one row at a time: JSON lines and Parquet, by their suffix."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, TypeAlias

from pydantic_core import from_json, to_json

from citemark_service.errors import DataError
from citemark_service.trainers.rows import Row, Shape

_LONGEST_LINE: Final = 64 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
LINES: Final = (".jsonl", ".ndjson", ".json")
PARQUET: Final = ".parquet"

WriteRow: TypeAlias = Callable[[Row], object]
"""Appends a row. Raises `ValueError`, and writes nothing of it, if a column does not fit."""


@dataclass(frozen=True, slots=True)
class Numbered:
    unit: str
    """`line`, or `row` of a table."""
    number: int
    """From 1."""
    row: Row | None
    problem: str = ""
    """Why `row` is None."""

    @property
    def place(self) -> str:
        return f"{self.unit} {self.number}"


def suffix_of(path: Path) -> str:
    """The file format: `.jsonl` or `.parquet`. Raises `DataError` for an unknown suffix."""
    suffix = path.suffix.lower()
    if suffix == PARQUET:
        return suffix
    if suffix in LINES:
        return LINES[0]
    raise DataError(f"{path}: must end in {', '.join(LINES)} (JSON lines) or {PARQUET}")


def _parquet() -> ModuleType:
    from citemark_service.trainers import parquet  # noqa: PLC0415 - an extra of its own

    return parquet


def read_rows(path: Path) -> Iterator[Numbered]:
    """The rows of a file in order, without blank lines. Raises `DataError` if it is unreadable."""
    if suffix_of(path) == PARQUET:
        rows = enumerate(_parquet().read_table(path), start=1)
        return (Numbered("row", number, row) for number, row in rows)
    lines = enumerate(_lines(path), start=1)
    return (parse_line(number, line) for number, line in lines if line is None or line.strip())


def count_rows(path: Path) -> int:
    """The number of rows, invalid ones included. Raises as `read_rows`."""
    if suffix_of(path) == PARQUET:
        with _parquet().open_parquet(path) as table:
            return int(table.metadata.num_rows)
    return sum(1 for line in _lines(path) if line is None or line.strip())


@contextmanager
def open_lines(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _lines(path: Path) -> Iterator[bytes | None]:
    """The lines of a file, with None in place of one over 64 MiB."""
    cut = False  # whether the previous piece ended inside a line
    with open_lines(path) as file:
        while piece := file.readline(_LONGEST_LINE):
            begins, cut = not cut, len(piece) == _LONGEST_LINE and not piece.endswith(b"\n")
            if begins:
                yield None if cut else piece.removeprefix(_BOM)


def parse_line(number: int, line: bytes | None) -> Numbered:
    """The JSON object of a line; None is a line that is too long."""
    if line is None:
        return Numbered("line", number, None, f"is longer than {_LONGEST_LINE // 2**20} MiB")
    try:
        # Unlike `json`, it rejects lone surrogates, which a request could not be encoded with.
        row = from_json(line)
    except ValueError as error:
        return Numbered("line", number, None, f"is not JSON: {error}")
    if not isinstance(row, dict):
        return Numbered("line", number, None, "is not a JSON object")
    return Numbered("line", number, row)


@contextmanager
def open_writer(path: Path, columns: Mapping[str, Shape]) -> Iterator[WriteRow]:
    """A writer of rows to `path`, as `replace_file`; `columns` are used for Parquet only."""
    table: Any = _parquet() if suffix_of(path) == PARQUET else None
    with replace_file(path) as file:
        if table is None:
            yield lambda row: file.write(to_json(row) + b"\n")
        else:
            with table.open_table(file, columns) as write:
                yield write


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """A file that replaces `path` when the context ends; after an error `path` is unchanged.

    Raises `DataError` if it cannot be written.
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
