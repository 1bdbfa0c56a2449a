"""Types of columns: declared by files that have to, and kept to by JSON that Arrow loads. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from citemark_service.trainers.faults import Fault, error

_DEEPEST: Final = 6
_MOST_PATHS: Final = 2000  # a column of free keys would fill the memory otherwise


class Kind(Enum):
    """A column of plain values."""

    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class ListOf:
    """A column of lists, whose items are all of one shape."""

    item: "Shape"


Shape: TypeAlias = "Kind | ListOf | Mapping[str, Shape]"
"""A mapping is an object with these keys; any of them may be absent."""

_TYPES: Final[Mapping[Kind, type | tuple[type, ...]]] = {
    Kind.TEXT: str,
    Kind.NUMBER: (int, float),
    Kind.INTEGER: int,
    Kind.FLAG: bool,
}
_NAMES: Final = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


def misfit(value: object, shape: Shape, place: str) -> str | None:
    """Where and how `value` is not of `shape`, which a file would otherwise drop or refuse.

    Returns `place: what is wrong`, or None where it fits; None fits every shape.
    """
    if value is None:
        return None
    if isinstance(shape, Kind):
        return None if isinstance(value, _TYPES[shape]) else f"{place}: is no {shape.value}"
    inner: Iterator[tuple[object, Shape, str]]
    if isinstance(shape, ListOf):
        if not isinstance(value, list | tuple):
            return f"{place}: is no list"
        inner = ((item, shape.item, f"{place}[{at}]") for at, item in enumerate(value))
    else:
        if not isinstance(value, Mapping):
            return f"{place}: is no object"
        unknown = next((key for key in value if key not in shape), None)
        if unknown is not None:
            return f"{place}: has the key {unknown!r}, for which the file has no column"
        inner = ((item, shape[key], f"{place}.{key}") for key, item in value.items())
    return next(filter(None, (misfit(*each) for each in inner)), None)


class ColumnTypes:
    """Remembers the type of each column, and of what is in it, from the first row with one."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}

    def faults(self, row: Mapping[str, Any]) -> Iterator[Fault]:
        """One fault for each place whose type differs from that of an earlier row."""
        for path, kind in _types_in(row, "", 0):
            known = self._types.get(path)
            if known is None and len(self._types) < _MOST_PATHS:
                self._types[path] = kind
            elif known is not None and known != kind:
                first, second = sorted((known, kind))
                yield error(
                    path,
                    f"is {first} in one row and {second} in another; the loader takes one type",
                    "citemark convert writes one",
                )


def _types_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """The dotted path and the type of everything in a value, down to `_DEEPEST`."""
    items: list[tuple[str, Any]] = []
    if depth <= _DEEPEST and isinstance(value, dict):
        items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif depth <= _DEEPEST and isinstance(value, list):
        items = [(f"{path}[…]", item) for item in value]
    for place, item in items:
        kind = next((name for type_, name in _NAMES if isinstance(item, type_)), None)
        if kind is not None:
            yield place, kind
            yield from _types_in(item, place, depth + 1)
