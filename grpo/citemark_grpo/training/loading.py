"""Rows as they stand in a file or on the hub, one mapping each."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from citemark_grpo.training.errors import RowsUnusable

RawRow = Mapping[str, Any]


def raw_rows(dataset: str, split: str) -> Iterator[RawRow]:
    """The rows of a JSONL or Parquet file, of a folder of such, or of a data set on the hub.

    Files are read row by row, not through one schema: rubrics come in several shapes in one file.

    Raises:
        RowsUnusable: there is no such data set, or a line is no JSON object.
    """
    path = Path(dataset)
    if path.suffix in (".jsonl", ".ndjson"):
        return _lines(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    return _data_set(dataset, split)


def _lines(path: Path) -> Iterator[RawRow]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from (_object(path, n, line) for n, line in enumerate(lines, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise RowsUnusable(f"{path} cannot be read: {error}") from error


def _object(path: Path, number: int, line: str) -> RawRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RowsUnusable(f"{path}, line {number}: no JSON: {error}") from error
    if not isinstance(row, dict):
        raise RowsUnusable(f"{path}, line {number}: a row must be a JSON object")
    return row


def _parquet(path: Path) -> Iterator[RawRow]:
    import pyarrow  # noqa: PLC0415 - heavy, and not needed for other rows
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for group in file.iter_batches(batch_size=256):
                yield from group.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise RowsUnusable(f"{path} cannot be read: {error}") from error


def _data_set(name: str, split: str) -> Iterator[RawRow]:
    import datasets  # noqa: PLC0415 - heavy, and not needed for a file

    try:
        yield from datasets.load_dataset(name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = ": ".join(str(each) for each in (error, error.__cause__) if each is not None)
        raise RowsUnusable(f"{name} ({split}) cannot be loaded: {reason}") from error
