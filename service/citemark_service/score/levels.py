"""How good a number is, for the eye. Pure."""

from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """A judgement in one word."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    UNKNOWN = "unknown"


_SIGNS: Final = {Level.GOOD: "✓", Level.FAIR: "~", Level.POOR: "✗", Level.UNKNOWN: "?"}


def level_of(value: float | None) -> Level:
    """The level of a value in [0, 1]: good from 0.75, fair from 0.25; None was not judged."""
    if value is None:
        return Level.UNKNOWN
    if value >= 0.75:
        return Level.GOOD
    return Level.FAIR if value >= 0.25 else Level.POOR


def sign_of(value: float | None) -> str:
    """The sign that goes with the level, for eyes and terminals without colours."""
    return _SIGNS[level_of(value)]
