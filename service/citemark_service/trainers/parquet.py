"""Parquet tables, row by row; the only module that needs pyarrow."""

from collections.abc import Iterator, Mapping, ValuesView
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from citemark_service.errors import DataError
from citemark_service.trainers.rows import Row
from citemark_service.trainers.shapes import Kind, ListOf, Shape, misfit

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise DataError(
        "Parquet needs pyarrow: pip install 'citemark[convert]', or use JSON lines"
    ) from error

_ROWS_READ: Final = 64
_ROWS_GROUPED: Final = 1024
_TEXT_GROUPED: Final = 16 * 1024 * 1024  # characters; a row of research has 20,000 and more
_TYPES: Final = {
    Kind.TEXT: pa.large_string(),
    Kind.NUMBER: pa.float64(),
    Kind.INTEGER: pa.int64(),
    Kind.FLAG: pa.bool_(),
}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_table(path: Path) -> Iterator[Row]:
    """The rows of a table, a few at a time.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(path) as table:
        for batch in table.iter_batches(batch_size=_ROWS_READ):
            yield from batch.to_pylist()


def count_table(path: Path) -> int:
    """How many rows a table has.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(path) as table:
        return int(table.metadata.num_rows)


@contextmanager
def writing_table(file: BinaryIO, columns: Mapping[str, Shape]) -> Iterator[Any]:
    """`TableWriter.write` of a table with these columns."""
    schema = pa.schema([(name, _type_of(shape)) for name, shape in columns.items()])
    with pq.ParquetWriter(file, schema) as table:
        writer = TableWriter(table, schema, columns)
        yield writer.write
        writer.flush()


class TableWriter:
    """Gathers rows into groups, which bound what is held and what a reader must hold."""

    def __init__(self, table: Any, schema: Any, columns: Mapping[str, Shape]) -> None:
        self._table = table
        self._schema = schema
        self._columns = columns
        self._rows: list[Row] = []
        self._text = 0

    def write(self, row: Row) -> None:
        """Take one row.

        Raises:
            ValueError: it has something that the columns cannot hold.
        """
        problem = misfit(row, self._columns, "row")
        if problem is not None:
            raise ValueError(f"{problem.removeprefix('row.')}; write JSON lines instead")
        self._rows.append(row)
        self._text += _characters(row)
        if len(self._rows) >= _ROWS_GROUPED or self._text >= _TEXT_GROUPED:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if self._rows:
            self._table.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows, self._text = [], 0


def _characters(value: object) -> int:
    """Characters of text in a row."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, Mapping) else value
    return sum(map(_characters, inner)) if isinstance(inner, list | tuple | ValuesView) else 0


def _type_of(shape: Shape) -> Any:
    if isinstance(shape, Kind):
        return _TYPES[shape]
    if isinstance(shape, ListOf):
        return pa.list_(_type_of(shape.item))
    return pa.struct([(name, _type_of(inner)) for name, inner in shape.items()])
