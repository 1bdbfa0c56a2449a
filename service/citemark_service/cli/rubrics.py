"""`citemark rubrics`: shows the static sets, and checks new ones."""

import sys
from pathlib import Path

import click
from rich.console import Console

from citemark_rubrics import RubricError, load_library, load_set
from citemark_schemas import Polarity
from citemark_service.cli.options import INPUT
from citemark_service.cli.terminal import plain
from citemark_service.printable import printable
from citemark_service.settings import load_settings


@click.group("rubrics")
def command() -> None:
    """Look at the static rubric sets, and check new ones."""


@command.command("show")
@click.argument("name", metavar="[SET]", required=False)
def show(name: str | None) -> None:
    """Print a SET with its criteria; without one, the default set and the names of all."""
    settings = load_settings()
    library = load_library(settings.rubrics_dir)
    console = Console()
    console.print(plain(f"sets: {', '.join(library.names())}", "dim"))
    chosen = library.find(name or settings.static_rubrics)
    console.print(plain(f"\n{chosen.name} ({chosen.version})", "bold"))
    console.print(plain(chosen.description))
    for criterion in chosen.criteria:
        defect = criterion.polarity is Polarity.NEGATIVE
        style, sign = ("red", "−") if defect else ("green", "+")
        title = f"\n{sign} {criterion.title} (weight {criterion.weight:g})"
        console.print(plain(title, style))
        console.print(plain(criterion.description))


@command.command("check")
@click.argument("files", nargs=-1, required=True, type=INPUT)
def check(files: tuple[Path, ...]) -> None:
    """Validate sets in TOML FILES; what is wrong is named with its line. Exit status 2 if any is.

    A set that passes can be used from a folder named by CITEMARK_RUBRICS_DIR.
    """
    status = 0
    for file in files:
        try:
            found = load_set(file)
        except RubricError as error:
            click.echo(printable(str(error)), err=True)
            status = 2
        else:
            criteria = f"{len(found.criteria)} criteria"
            click.echo(f"{file}: ok: {found.name}, {criteria}, version {found.version}")
    sys.exit(status)
