"""Names in a line of text, when there may be any number of them. Pure."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int, *, separator: str = ", ") -> str:
    """At most so many of them, and how many more there are."""
    more = len(names) - most
    shown = [*names[:most], *([f"and {more} more"] if more > 0 else [])]
    return separator.join(shown)
