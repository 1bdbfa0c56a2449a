"""How good a number is, on a terminal: a colour, and a sign where there are no colours."""

from typing import Final

from rich.text import Text

from citemark_service.score.explanation import Level, level_of, sign_of

GOOD, FAIR, POOR, UNKNOWN = "green", "yellow", "red", "dim"
_STYLES: Final = {
    Level.GOOD: GOOD,
    Level.FAIR: FAIR,
    Level.POOR: POOR,
    Level.UNKNOWN: UNKNOWN,
}


def style_of(value: float | None) -> str:
    """Colour of a value in [0, 1], by its level."""
    return _STYLES[level_of(value)]


def marked(value: float | None) -> Text:
    """A value with its sign, as `✓ 0.93`, or `? –` where it was not judged."""
    shown = "–" if value is None else f"{value:.2f}"
    return Text(f"{sign_of(value)} {shown}", style=style_of(value))
