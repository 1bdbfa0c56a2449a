"""The static rubric sets as data, and their loader."""

from citemark_rubrics.library import (
    RubricError,
    RubricLibrary,
    RubricSet,
    UnknownSet,
    load_library,
    load_set,
    parse_set,
)

__all__ = [
    "RubricError",
    "RubricLibrary",
    "RubricSet",
    "UnknownSet",
    "load_library",
    "load_set",
    "parse_set",
]
