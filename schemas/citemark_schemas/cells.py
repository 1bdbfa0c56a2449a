"""Cells of a table as plain values, whatever library they came from. Pure.

Rows reach a reward function through JSON, Arrow, pandas or NumPy: an object may be a JSON string,
a list an array, a missing value None or NaN.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from citemark_schemas.bulk import Bulky, loads

_DEEPEST: Final = 32
_STRINGS_WITHIN: Final = 2  # some writers encode a column that was encoded already


class TooDeep(ValueError):
    """A value is nested deeper than any row that a data set holds."""


def replace_surrogates(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which no encoding can carry."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_json_value(value: object, *, keep_nan: bool = False, depth: int = 0) -> Any:
    """`value` as JSON has it: arrays are lists, NaN is None, keys are strings, no surrogates.

    With `keep_nan` only the cell itself is None where it is NaN: within one, a number that is none
    is for the reader to refuse.

    Raises:
        TooDeep: nested more than 32 deep.
    """
    if depth > _DEEPEST:
        raise TooDeep("is nested too deeply")
    value = _native(value)
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, Mapping):
        return {
            replace_surrogates(str(key)): to_json_value(item, keep_nan=keep_nan, depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json_value(item, keep_nan=keep_nan, depth=depth + 1) for item in value]
    missing = value != value and not (keep_nan and depth)  # noqa: PLR0124  NaN alone differs so
    return None if missing else value


def object_in(value: object) -> Mapping[Any, Any] | None:
    """The object that a cell holds: itself, alone in a list, or as a JSON string; None otherwise.

    Its own values are left as they are.

    Raises:
        TooDeep: a JSON string is nested too deeply to be read, or has too many values.
    """
    for _ in range(_STRINGS_WITHIN + 1):
        value = _native(value)
        if isinstance(value, list | tuple) and len(value) == 1:
            value = _native(value[0])  # some trainers allow several labels a row
        if isinstance(value, Mapping):
            return value
        if not isinstance(value, str) or not value.lstrip().startswith(("{", '"', "[")):
            return None
        try:
            value = loads(value)
        except RecursionError as error:
            raise TooDeep("is nested too deeply") from error
        except Bulky as error:
            raise TooDeep(str(error)) from error
        except ValueError:
            return None  # text that only looks like JSON is an answer, not an envelope
    return None


def list_in(text: str) -> Any:
    """The list that a text is the JSON of, or None. Raises as `object_in`."""
    if not text.lstrip().startswith("["):
        return None
    held = object_in('{"listed": ' + text + "}")
    return None if held is None else held["listed"]


def items_in(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list, also where it is JSON text; empty for anything else."""
    value = to_json_value(list_in(value) if isinstance(value, str) else value)
    objects = isinstance(value, list) and all(isinstance(each, Mapping) for each in value)
    return cast("list[Mapping[str, Any]]", value) if objects else []


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, through objects that are JSON text; None where there is none."""
    value: Any = row
    for name in path.split("."):
        try:
            held = object_in(value)
        except TooDeep:
            return None
        value = None if held is None else held.get(name)
    return value


def _native(value: object) -> object:
    """Arrays and scalars of array libraries as Python's own."""
    if isinstance(value, str | Mapping):
        return value
    convert = getattr(value, "tolist", None)
    return convert() if callable(convert) else value


def split_list(value: object) -> object:
    """A text from the environment or a flag as the list that it stands for."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(part.strip() for part in value.split(",") if part.strip())


def rows_in(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]] | None:
    """The rows of a table given as columns of equal length; None where it is no such table."""
    lengths = {len(cell) if isinstance(cell, list) else -1 for cell in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        return None
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
