"""Text of strangers made fit for a terminal."""

import click
from rich.console import Console, RenderableType
from rich.text import Text

from citemark_service.printable import printable


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
