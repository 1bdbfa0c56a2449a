"""How good a number is, for the eye: a colour, and a sign for terminals without colours."""

from rich.text import Text

GOOD, FAIR, POOR, UNKNOWN = "green", "yellow", "red", "dim"
_SIGNS = {GOOD: "✓", FAIR: "~", POOR: "✗", UNKNOWN: "?"}


def style_of(value: float | None) -> str:
    """Colour of a value in [0, 1]: good from 0.75, fair from 0.25; None was not judged."""
    if value is None:
        return UNKNOWN
    if value >= 0.75:
        return GOOD
    return FAIR if value >= 0.25 else POOR


def sign_of(value: float | None) -> str:
    """The sign that goes with `style_of`."""
    return _SIGNS[style_of(value)]


def marked(value: float | None) -> Text:
    """A value with its sign, as `✓ 0.93`, or `? –` where it was not judged."""
    shown = "–" if value is None else f"{value:.2f}"
    return Text(f"{sign_of(value)} {shown}", style=style_of(value))
