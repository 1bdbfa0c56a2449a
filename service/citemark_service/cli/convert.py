"""`citemark convert`: rows of one trainer's layout, or of Citemark's, into those of another."""

from pathlib import Path

import click
from rich.console import Console

from citemark_service.cli.printable import plain
from citemark_service.cli.progress import Progress
from citemark_service.cli.wording import counted
from citemark_service.errors import DataError
from citemark_service.trainers.conversion import Conversion
from citemark_service.trainers.files import count_of, rows_of, suffix_of, writing
from citemark_service.trainers.prompts import PromptTemplate
from citemark_service.trainers.table import LAYOUTS
from citemark_service.trainers.trainer import Trainer

_LAYOUT = click.Choice(tuple(LAYOUTS))


@click.command("convert")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--to", "target", type=_LAYOUT, required=True, help="Whose rows to write.")
@click.option("--from", "origin", type=_LAYOUT, help="Whose rows SOURCE has.  [looked for]")
@click.option(
    "--prompt-template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.j2",
    help="Make every prompt, of question, reasoning and tool_output.",
)
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out, and count them.")
def command(
    *,
    source: Path,
    output: Path,
    target: str,
    origin: str | None,
    prompt_template: Path | None,
    skip_bad: bool,
) -> None:
    """Convert the data set SOURCE into OUTPUT, each JSON lines or Parquet by its ending.

    A row is a rollout without its response: question, tool_output or snippets, rubrics, id. Its
    prompt is its own (prompt or messages); where it has none, one is made of its question and
    its sources. Rows keep their order. OUTPUT appears when it is complete.

    Exit status: 0, 2 where a row is bad or none is left, and nothing was written, 130 when
    interrupted.
    """
    trainer = LAYOUTS[target]
    _refuse_suffix(output, trainer)
    template = PromptTemplate(prompt_template)
    conversion = Conversion(LAYOUTS[origin] if origin else None, trainer, template)
    console = Console(stderr=True)
    with Progress(console, count_of(source), "converting") as progress:
        _run(conversion, source, output, trainer, progress, skip_bad=skip_bad)
    _tell(console, conversion, trainer)


def _refuse_suffix(output: Path, trainer: Trainer) -> None:
    if suffix_of(output) not in trainer.suffixes:
        known = " or ".join(trainer.suffixes)
        raise DataError(f"{output}: {trainer.title} reads {known} alone")


def _run(
    conversion: Conversion,
    source: Path,
    output: Path,
    trainer: Trainer,
    progress: Progress,
    *,
    skip_bad: bool,
) -> None:
    with writing(output, trainer.columns) as writer:
        for bad in conversion.over(rows_of(source), writer):
            progress.advance()
            if bad is not None and not skip_bad:
                raise bad
            if bad is not None:
                progress.complain(str(bad))
        if not conversion.tally.converted:
            told = "none of its rows can be used" if conversion.tally.skipped else "has no rows"
            raise DataError(f"{source}: {told}; nothing was written")


def _tell(console: Console, conversion: Conversion, trainer: Trainer) -> None:
    tally = conversion.tally
    if tally.left:
        console.print(plain(f"left behind: {', '.join(tally.left)}", "yellow"))
    told = f"{counted(tally.converted, 'row')} converted"
    if tally.skipped:
        told += f", {counted(tally.skipped, 'bad row')} skipped"
    console.print(plain(f"{told} for {trainer.title}: {trainer.flags}"), soft_wrap=True)
