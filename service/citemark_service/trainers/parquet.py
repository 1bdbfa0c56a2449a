"""Writes Parquet tables row by row."""

from collections.abc import Callable, Iterator, Mapping, ValuesView
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from citemark_service.errors import DataError
from citemark_service.trainers.rows import Row, Shape, misfit

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise DataError(
        "Parquet needs pyarrow: pip install 'citemark[convert]', or use JSON lines"
    ) from error

_ROWS_GROUPED: Final = 1024
_TEXT_GROUPED: Final = 16 * 1024 * 1024  # characters; a row with search results has over 20,000
_TYPES: Final = {
    str: pa.large_string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
}


@contextmanager
def open_table(file: BinaryIO, columns: Mapping[str, Shape]) -> Iterator[Callable[[Row], None]]:
    """A writer of rows to a table; it raises `ValueError` for a row that does not fit `columns`."""
    schema = pa.schema([(name, _type_of(shape)) for name, shape in columns.items()])
    rows: list[Row] = []
    characters = 0
    with pq.ParquetWriter(file, schema) as table:

        def write(row: Row) -> None:
            nonlocal characters
            problem = misfit(row, columns, "row")
            if problem is not None:
                raise ValueError(f"{problem.removeprefix('row.')}; write JSON lines instead")
            rows.append(row)
            characters += _characters(row)
            # The size of a row group bounds the memory of this writer and of readers.
            if len(rows) >= _ROWS_GROUPED or characters >= _TEXT_GROUPED:
                flush()

        def flush() -> None:
            nonlocal characters
            table.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
            rows.clear()
            characters = 0

        yield write
        if rows:
            flush()


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, Mapping) else value
    return sum(map(_characters, inner)) if isinstance(inner, list | tuple | ValuesView) else 0


def _type_of(shape: Shape) -> Any:
    if isinstance(shape, type):
        return _TYPES[shape]
    if isinstance(shape, list):
        return pa.list_(_type_of(shape[0]))
    return pa.struct([(name, _type_of(inner)) for name, inner in shape.items()])
