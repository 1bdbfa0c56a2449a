"""`citemark convert`: rows of one trainer's layout, or of Citemark's, into those of another."""

from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from citemark_schemas.envelope import EnvelopeError
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.errors import DataError
from citemark_service.trainers.files import (
    Numbered,
    WriteRow,
    count_rows,
    open_writer,
    read_rows,
    suffix_of,
)
from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import LAYOUTS, READ, task_of
from citemark_service.trainers.trainer import Trainer

_LAYOUT = click.Choice(tuple(LAYOUTS))
_MOST_COLUMNS: Final = 50


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
    if suffix_of(output) not in trainer.suffixes:
        known = " or ".join(trainer.suffixes)
        raise DataError(f"{output}: {trainer.title} reads {known} alone")
    template = PromptTemplate(prompt_template)
    conversion = Conversion(LAYOUTS[origin] if origin else None, trainer, template)
    console = Console(stderr=True)
    with (
        Progress(console, count_rows(source), "converting") as progress,
        open_writer(output, trainer.columns) as write,
    ):
        for numbered in read_rows(source):
            problem = conversion.convert(numbered, write)
            if problem is not None and not skip_bad:
                raise DataError(problem)
            if problem is not None:
                progress.complain(problem)
            progress.advance()
        if not conversion.converted:
            problem = "none of its rows can be used" if conversion.skipped else "has no rows"
            raise DataError(f"{source}: {problem}; nothing was written")
    if conversion.left:
        console.print(plain(f"left behind: {', '.join(conversion.left)}", "yellow"))
    summary = f"{count_noun(conversion.converted, 'row')} converted"
    if conversion.skipped:
        summary += f", {count_noun(conversion.skipped, 'bad row')} skipped"
    console.print(plain(f"{summary} for {trainer.title}: {trainer.flags}"), soft_wrap=True)


class Conversion:
    """Turns rows into those of one trainer.

    Args:
        source: whose layout the rows have; None to look everywhere in each.
        target: whose layout they get.
        template: makes prompts where there are none.
    """

    def __init__(self, source: Trainer | None, target: Trainer, template: PromptTemplate) -> None:
        self._source = source
        self._target = target
        self._template = template
        self.converted = 0
        self.skipped = 0
        self.left: dict[str, None] = {}
        """Columns of the input that no rollout and no prompt has, and that the output lacks."""

    def convert(self, numbered: Numbered, write: WriteRow) -> str | None:
        """Write one row in its new layout; or say in which row, and where in it, what is wrong."""
        row, problem = numbered.row, numbered.problem
        laid: dict[str, Any] = {}
        if row is not None:
            try:
                laid = self._target.lay(task_of(row, self._source, self._template), self.converted)
                write(laid)
            except EnvelopeError as error:
                problem = "; ".join(f"{each.loc}: {each.message}" for each in error.details)
            except ValueError as error:
                problem = str(error)
        if row is None or problem:
            self.skipped += 1
            return f"{numbered.place}: {problem}"
        self.converted += 1
        if len(self.left) < _MOST_COLUMNS:
            left = (name for name in row if name not in READ and name not in laid)
            self.left.update(dict.fromkeys(left))
        return None
