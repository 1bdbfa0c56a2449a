"""Writes files of rows, one row at a time: JSON lines and Parquet, by their suffix."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, TypeAlias

from pydantic_core import to_json

from citemark_service.errors import DataError
from citemark_service.trainers.rows import Row, Shape

LINES: Final = (".jsonl", ".ndjson", ".json")
PARQUET: Final = ".parquet"

WriteRow: TypeAlias = Callable[[Row], object]
"""Appends a row. Raises `ValueError`, and writes nothing of it, if a column does not fit."""


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
