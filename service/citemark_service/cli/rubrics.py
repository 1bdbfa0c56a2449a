"""`citemark rubrics`: look at the static sets, and check a new one."""

from pathlib import Path

import click
from rich.console import Console

from citemark_rubrics import RubricError, RubricSet, load_library, load_set
from citemark_schemas import Criterion, Polarity
from citemark_service.cli.printable import plain
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
    _print_set(console, library.named(name or settings.static_rubrics))


def _print_set(console: Console, rubric_set: RubricSet) -> None:
    console.print(plain(f"\n{rubric_set.name} ({rubric_set.version})", "bold"))
    console.print(plain(rubric_set.description))
    for criterion in rubric_set.criteria:
        _print_criterion(console, criterion)


def _print_criterion(console: Console, criterion: Criterion) -> None:
    defect = criterion.polarity is Polarity.NEGATIVE
    style, sign = ("red", "−") if defect else ("green", "+")
    console.print()
    console.print(plain(f"{sign} {criterion.title} (weight {criterion.weight:g})", style))
    console.print(plain(criterion.description))


@command.command("check")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Validate sets in TOML FILES; what is wrong is named with its line. Exit status 2 if any is.

    A set that passes can be used from a folder named by CITEMARK_RUBRICS_DIR.
    """
    passed = [_passes(file) for file in files]
    ctx.exit(0 if all(passed) else 2)


def _passes(file: Path) -> bool:
    try:
        rubric_set = load_set(file)
    except RubricError as error:
        click.echo(printable(str(error)), err=True)
        return False
    told = f"{rubric_set.name}, {len(rubric_set.criteria)} criteria, version {rubric_set.version}"
    click.echo(f"{file}: ok: {told}")
    return True
