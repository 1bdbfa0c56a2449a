"""Text of strangers with nothing in it that a reader could not see. Pure."""

import unicodedata
from typing import Final

_KEPT: Final = "\n\t"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs"})


def printable(text: str) -> str:
    """`text` with what could steer a terminal or reorder a line shown as a code point.

    Escape sequences, carriage returns, bidirectional overrides and lone surrogates come out as
    `<U+001B>` and so on; a rollout must not be able to paint its own verdict.
    """
    if all(line.isprintable() for line in text.split("\n")):  # far faster, and nearly always so
        return text
    return "".join(
        character
        if character in _KEPT or unicodedata.category(character) not in _HIDDEN
        else f"<U+{ord(character):04X}>"
        for character in text
    )
