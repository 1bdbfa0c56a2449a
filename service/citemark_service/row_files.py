"""Reads files of rows, one row at a time: JSON lines, a JSON array, an object around one, Parquet.

What a file is, is read off its first bytes, never off its name; all but Parquet may be gzipped.
"""

import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

import click
import msgspec
from pydantic_core import from_json

from citemark_schemas.bulk import RepeatedKey, to_object
from citemark_service.errors import DataError

STDIN: Final = Path("-")
_LONGEST_LINE: Final = 64 * 1024 * 1024
_LARGEST_DOCUMENT: Final = 512 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_TABLE: Final = b"PAR1"
_ROWS_READ: Final = 64  # rows of a table in memory at once
_LISTS: Final = (
    "items", "rows", "data", "examples", "rollouts", "samples", "instances", "train", "test",
    "validation", "dev",
)  # fmt: skip
"""Under which an object around all rows may hold them."""
_OF_A_ROW: Final = frozenset({
    "question", "query", "prompt", "messages", "conversation", "response", "rubrics", "claim",
})  # fmt: skip
_COMMON: Final = frozenset({"prompt", "rubric", "reference_submission"})
_NO_PYARROW: Final = "Parquet needs pyarrow: pip install 'citemark[convert]', or use JSON lines"


class Form(StrEnum):
    """What a file is; gzip apart."""

    LINES = "JSON lines"
    ARRAY = "a JSON array"
    TABLE = "Parquet"


@dataclass(frozen=True, slots=True)
class Numbered:
    place: str
    """`line 3`, `row 3` of a table or `item 3` of a list, from 1."""
    row: Mapping[str, Any] | None
    problem: str = ""
    """Why `row` is None."""


class RowFile:
    """A file of rows, or standard input for `-`. Iterates over its rows, without blank lines.

    Each iteration reads the file again; a pipe can be read once. Raises `DataError` where the
    file is unreadable, or is Parquet on a pipe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside: dict[str, None] = {}
        """Keys of an object around the rows other than theirs, in order; nobody reads them."""

    @property
    def name(self) -> str:
        return "standard input" if self.path == STDIN else str(self.path)

    @property
    def rereadable(self) -> bool:
        if self.path == STDIN:
            return sys.stdin.buffer.seekable()
        return self.path.is_file()

    def find_form(self) -> tuple[Form, bool]:
        """What the file is, and whether in gzip; (lines, False) for a pipe, which is not read."""
        if not self.rereadable:
            return Form.LINES, False
        with self._open() as (stream, zipped):
            return _form_of(stream), zipped

    def count(self) -> int | None:
        """The number of rows for a progress bar, invalid ones included; None if it is unknown."""
        if not self.rereadable:
            return None
        with self._open() as (stream, _):
            form = _form_of(stream)
            if form is Form.TABLE:
                with self._open_table(stream) as table:
                    return int(table.metadata.num_rows)
            if form is Form.LINES:
                return sum(1 for line in _lines(stream) if line is None or line.strip())
        return None

    def __iter__(self) -> Iterator[Numbered]:
        with self._open() as (stream, zipped):
            if _form_of(stream) is not Form.TABLE:
                yield from self._read_json(stream)
            elif zipped:
                raise DataError(f"{self.name} is Parquet in gzip; unpack it (gunzip) first")
            else:
                yield from self._read_table(stream)

    @contextmanager
    def _open(self) -> Iterator[tuple[io.BufferedReader, bool]]:
        """The file's bytes, unzipped, and whether they were zipped."""
        try:
            with click.open_file(str(self.path), "rb") as raw, _buffer(raw) as stream:
                if stream.peek(2).startswith(_GZIP):
                    unzipped = gzip.GzipFile(fileobj=stream)
                    yield io.BufferedReader(cast(Any, unzipped)), True
                else:
                    yield stream, False
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot read {self.name}: {reason}") from error

    def _read_table(self, stream: BinaryIO) -> Iterator[Numbered]:
        with self._open_table(stream) as table:
            batches = table.iter_batches(batch_size=_ROWS_READ)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                # A table has each column in each row: an absent cell is null.
                held = {name: cell for name, cell in row.items() if cell is not None}
                yield Numbered(f"row {number}", held)

    @contextmanager
    def _open_table(self, stream: BinaryIO) -> Iterator[Any]:
        try:
            import pyarrow as pa  # noqa: PLC0415 - an extra of its own
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise DataError(f"{self.name} is Parquet. {_NO_PYARROW}") from error
        if not stream.seekable():
            raise DataError(f"{self.name} is Parquet, which no pipe can carry; name the file")
        try:
            with pq.ParquetFile(stream) as table:
                yield table
        except pa.ArrowException as error:
            raise DataError(f"cannot read {self.name}: {error}") from error

    def _read_json(self, stream: io.BufferedReader) -> Iterator[Numbered]:
        lines = self._join_object(stream)
        if _form_of(stream) is Form.ARRAY:
            whole = self._read_whole(b"", stream)
            try:
                items = msgspec.json.decode(whole, type=list[msgspec.Raw])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if parse_line(1, whole.partition(b"\n")[0]).problem.startswith("is not JSON"):
                    yield Numbered("line 1", None, f"begins a JSON array that is broken: {error}")
                    return
                lines = _lines(io.BytesIO(whole))  # of which the first is an array
            else:
                yield from _items(items)
                return
        for number, line in enumerate(lines, start=1):
            if line is None or line.strip():
                yield from self._spread(parse_line(number, line))

    def _join_object(self, stream: io.BufferedReader) -> Iterator[bytes | None]:
        """The lines of a stream; one alone where the stream is one object over many lines."""
        lines = _lines(stream)
        for line in lines:
            if line is not None and _goes_on(line):
                whole = self._read_whole(line, stream)
                try:
                    from_json(whole)
                except ValueError:
                    yield from _lines(io.BytesIO(whole))
                else:
                    yield whole
                return
            yield line
            if line is None or line.strip():
                yield from lines
                return

    def _read_whole(self, begun: bytes, stream: BinaryIO) -> bytes:
        whole = begun + stream.read(_LARGEST_DOCUMENT - len(begun) + 1)
        if len(whole) > _LARGEST_DOCUMENT:
            limit = _LARGEST_DOCUMENT // 2**20
            told = f"{self.name} is one JSON value of more than {limit} MiB"
            raise DataError(f"{told}; write one row a line (jq -c '.[]')")
        return whole.removeprefix(_BOM)

    def _spread(self, read: Numbered) -> Iterator[Numbered]:
        """The rows of an object around them, or the row itself."""
        row = read.row or {}
        name = next((each for each in _LISTS if isinstance(row.get(each), list)), None)
        rows = [] if name is None else row[name]
        if not rows or not all(isinstance(each, dict) for each in rows):
            yield read
            return
        # A data set of autorubric has a prompt and a rubric for all items.
        common = _COMMON if all("submission" in each for each in rows) else frozenset()
        if row.keys() & _OF_A_ROW - common:
            yield read
            return
        shared = {key: row[key] for key in row if key in common}
        self.beside.update(dict.fromkeys(key for key in row if key not in {name, *common}))
        for number, each in enumerate(rows, start=1):
            own = each
            if shared:
                own = shared | {key: value for key, value in each.items() if value is not None}
            yield Numbered(f"{read.place}, item {number}", own)


@contextmanager
def _buffer(raw: IO[Any]) -> Iterator[io.BufferedReader]:
    """A file from its beginning, with `peek`."""
    if raw.seekable():
        raw.seek(0)
    stream = io.BufferedReader(cast(Any, raw))
    try:
        yield stream
    finally:
        stream.detach()  # else it would close standard input with itself


def _form_of(stream: io.BufferedReader) -> Form:
    head = stream.peek(len(_TABLE))
    if head.startswith(_TABLE):
        return Form.TABLE
    return Form.ARRAY if head.removeprefix(_BOM).lstrip().startswith(b"[") else Form.LINES


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a stream, with None in place of one over 64 MiB."""
    cut = False  # whether the previous piece ended inside a line
    while piece := stream.readline(_LONGEST_LINE):
        begins, cut = not cut, len(piece) == _LONGEST_LINE and not piece.endswith(b"\n")
        if begins:
            yield None if cut else piece.removeprefix(_BOM)


def _goes_on(line: bytes) -> bool:
    """Whether a line begins an object that further lines may end."""
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        from_json(line)
    except ValueError as error:
        return "EOF while parsing" in str(error)
    return False


def _items(rows: Iterable[msgspec.Raw]) -> Iterator[Numbered]:
    for number, raw in enumerate(rows, start=1):
        read = parse_line(number, bytes(raw))
        yield Numbered(f"item {number}", read.row, read.problem)


def parse_line(number: int, line: bytes | None) -> Numbered:
    """The JSON object of a line; None is a line that is too long."""
    place = f"line {number}"
    if line is None:
        return Numbered(place, None, f"is longer than {_LONGEST_LINE // 2**20} MiB")
    try:
        # Unlike `json`, it rejects lone surrogates, which a request could not be encoded with.
        row = from_json(line)
        json.loads(line, object_pairs_hook=to_object)
    except RepeatedKey as error:
        return Numbered(place, None, str(error))
    except ValueError as error:
        return Numbered(place, None, f"is not JSON: {error}")
    if not isinstance(row, dict):
        return Numbered(place, None, "is not a JSON object")
    return Numbered(place, row)
