"""Types of columns, for files that have to declare them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


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

MESSAGES = ListOf({"role": Kind.TEXT, "content": Kind.TEXT})
"""A prompt as chat messages."""


def misfit(value: object, shape: Shape, place: str) -> str | None:
    """Where and how `value` is not of `shape`, which a file would otherwise drop or refuse.

    Returns `place: what is wrong`, or None where it fits; None fits every shape.
    """
    if value is None:
        return None
    if isinstance(shape, Kind):
        return None if isinstance(value, _PLAIN[shape]) else f"{place}: is no {shape.value}"
    if isinstance(shape, ListOf):
        return _list_misfit(value, shape, place)
    if not isinstance(value, Mapping):
        return f"{place}: is no object"
    return _object_misfit(value, shape, place)


_PLAIN: Mapping[Kind, type | tuple[type, ...]] = {
    Kind.TEXT: str,
    Kind.NUMBER: (int, float),
    Kind.INTEGER: int,
    Kind.FLAG: bool,
}


def _list_misfit(value: object, shape: ListOf, place: str) -> str | None:
    if not isinstance(value, list | tuple):
        return f"{place}: is no list"
    found = (misfit(item, shape.item, f"{place}[{at}]") for at, item in enumerate(value))
    return next(filter(None, found), None)


def _object_misfit(
    value: Mapping[str, object], shape: Mapping[str, Shape], place: str
) -> str | None:
    unknown = next((key for key in value if key not in shape), None)
    if unknown is not None:
        return f"{place}: has the key {unknown!r}, for which the file has no column"
    found = (misfit(item, shape[key], f"{place}.{key}") for key, item in value.items())
    return next(filter(None, found), None)
