"""`citemark convert`: a data set from one trainer's layout, or Citemark's, into another's."""

from collections.abc import Set
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from citemark_schemas.envelope import EnvelopeError
from citemark_service.cli.options import INPUT, OUTPUT, refuse_overwriting
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.errors import DataError
from citemark_service.row_files import Numbered, RowFile
from citemark_service.settings import load_settings
from citemark_service.trainers.files import open_writer, suffix_of
from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import LAYOUTS, READ, task_of

_LAYOUT = click.Choice(tuple(LAYOUTS))
_MOST_COLUMNS: Final = 50


@click.command("convert")
@click.argument("source", type=INPUT)
@click.argument("output", type=OUTPUT)
@click.option("--to", "target", type=_LAYOUT, required=True, help="Whose rows to write.")
@click.option("--from", "origin", type=_LAYOUT, help="Whose rows SOURCE has.  [looked for]")
@click.option(
    "--prompt-template",
    type=INPUT,
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
    """Convert the data set SOURCE into OUTPUT, JSON lines or Parquet by its ending.

    SOURCE is JSON lines, a JSON array, gzip of either, or Parquet, whatever its name.

    A row is a rollout without its response: question, tool_output or snippets, rubrics, id. Its
    prompt is its own (prompt or messages); where it has none, one is made of its question and
    its sources. Rows keep their order. OUTPUT appears when it is complete.

    Exit status: 0, 2 where a row is bad or none is left, and nothing was written, 130 when
    interrupted.
    """
    trainer = LAYOUTS[target]
    refuse_overwriting(output, source, prompt_template)
    if suffix_of(output) not in trainer.suffixes:
        known = " or ".join(trainer.suffixes)
        raise DataError(f"{output}: {trainer.title} reads {known} alone")
    template = PromptTemplate(prompt_template)
    ignored = load_settings().ignored_rubric_keys
    converted, skipped = 0, 0
    left: dict[str, None] = {}  # names of columns that the output does not have, in order
    console = Console(stderr=True)
    rows = RowFile(source)
    with (
        Progress(console, rows.count(), "converting") as progress,
        open_writer(output, trainer.columns) as write,
    ):
        for numbered in progress.track(rows):
            problem = ""
            try:
                row = _convert_row(numbered, origin, target, template, ignored, index=converted)
                write(row)
            except ValueError as error:
                problem = f"{numbered.place}: {error}"
            if problem and not skip_bad:
                raise DataError(problem)
            if problem:
                skipped += 1
                progress.complain(problem)
                continue
            converted += 1
            if len(left) < _MOST_COLUMNS:
                given = numbered.row or {}
                left |= dict.fromkeys(each for each in given if each not in {*READ, *row})
        if not converted:
            problem = "none of its rows can be used" if skipped else "has no rows"
            raise DataError(f"{source}: {problem}; nothing was written")
    if left:
        console.print(plain(f"left behind: {', '.join(left)}", "yellow"))
    summary = f"{count_noun(converted, 'row')} converted"
    if skipped:
        summary += f", {count_noun(skipped, 'bad row')} skipped"
    console.print(plain(f"{summary} for {trainer.title}: {trainer.flags}"), soft_wrap=True)


def _convert_row(
    numbered: Numbered,
    origin: str | None,
    target: str,
    template: PromptTemplate,
    ignored: Set[str],
    *,
    index: int,
) -> dict[str, Any]:
    """The row in its new layout. Raises `ValueError`, which names the place and the fault."""
    if numbered.row is None:
        raise ValueError(numbered.problem)
    try:
        task = task_of(numbered.row, LAYOUTS[origin] if origin else None, template, ignored)
    except EnvelopeError as error:
        problems = (f"{each.loc}: {each.message}" for each in error.details)
        raise ValueError("; ".join(problems)) from error
    return LAYOUTS[target].lay(task, index)
