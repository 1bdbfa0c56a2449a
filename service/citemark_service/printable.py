"""Text and numbers as people read them. Pure."""

import unicodedata
from collections.abc import Sequence
from typing import Final

_KEPT: Final = "\n\t"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs"})  # control, format, surrogate


def printable(text: str) -> str:
    """`text` with control, format and surrogate characters, all but LF and tab, as `<U+001B>`.

    With escape sequences or bidirectional overrides, a rollout could paint its own verdict.
    """
    if all(line.isprintable() for line in text.split("\n")):  # far faster, and nearly always so
        return text
    return "".join(
        character
        if character in _KEPT or unicodedata.category(character) not in _HIDDEN
        else f"<U+{ord(character):04X}>"
        for character in text
    )


def figure(value: float, form: str) -> str:
    """`value` in a format such as `.3f` or `+.2f`, with U+2212 as minus and no negative zero."""
    sign = "+" if form.startswith("+") else ""
    return f"{value:{sign}z{form.removeprefix(sign)}}".replace("-", "\N{MINUS SIGN}")


def join_names(names: Sequence[str], most: int, *, separator: str = ", ") -> str:
    """At most `most` names, and how many more there are."""
    more = len(names) - most
    return separator.join([*names[:most], *([f"and {more} more"] if more > 0 else [])])
