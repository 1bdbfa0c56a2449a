"""Text of strangers made fit for a terminal."""

import unicodedata

import click
from rich.console import Console, RenderableType
from rich.text import Text

_KEPT = "\n\t"


def printable(text: str) -> str:
    """`text` with what could steer the terminal or reorder the line shown as a code point.

    Escape sequences, carriage returns, bidirectional overrides and lone surrogates come out as
    `<U+001B>` and so on; a rollout must not be able to paint its own verdict.
    """
    return "".join(
        character
        if character in _KEPT or unicodedata.category(character) not in {"Cc", "Cf", "Cs"}
        else f"<U+{ord(character):04X}>"
        for character in text
    )


def plain(text: str, style: str = "") -> Text:
    """Printable text that rich does not read for markup."""
    return Text(printable(text), style=style)


def show(content: RenderableType) -> None:
    """Print to standard output; into a pipe or a file without the blanks that fill each line."""
    console = Console()
    if console.is_terminal:
        console.print(content)
        return
    with console.capture() as capture:
        console.print(content)
    lines = capture.get().split("\n")
    click.echo("\n".join(line.rstrip(" ") for line in lines), nl=False)
