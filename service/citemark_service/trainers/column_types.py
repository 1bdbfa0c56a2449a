"""Whether each column of a JSON file holds one type, as loaders by way of Arrow want. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.faults import Fault, error

_DEEPEST: Final = 6
_MOST_PATHS: Final = 2000  # a column of free keys would fill the memory otherwise
_NAMES: Final = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


class ColumnTypes:
    """Remembers the type of each column, and of what is in it, from the first row with one."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}

    def faults(self, row: Mapping[str, Any]) -> Iterator[Fault]:
        """One fault for each place whose type differs from that of an earlier row."""
        for path, kind in _walk(row, "", 0):
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


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _told(item, f"{path}.{key}" if path else str(key), depth)
    elif isinstance(value, list):
        for item in value:
            yield from _told(item, f"{path}[…]", depth)


def _told(item: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    kind = next((name for type_, name in _NAMES if isinstance(item, type_)), None)
    if kind is not None:
        yield path, kind
        yield from _walk(item, path, depth + 1)
