"""`citemark convert`: a data set from one trainer's layout, or Citemark's, into another's."""

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from citemark_schemas.envelope import EnvelopeError
from citemark_service.cli.options import INPUT, OUTPUT, refuse_overwriting
from citemark_service.cli.plans import RowNotes, list_notes, make_plan, plan_options
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.errors import DataError
from citemark_service.row_files import Numbered, RowFile
from citemark_service.settings import load_settings
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.table import SHAPES
from citemark_service.trainers.files import open_writer, suffix_of
from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import LAYOUTS, task_of, unread_in
from citemark_service.trainers.trainer import Trainer

_LAYOUT = click.Choice(tuple(LAYOUTS))
_ORIGIN = click.Choice((*LAYOUTS, *SHAPES))
_MOST_COLUMNS: Final = 50


@click.command("convert")
@click.argument("source", type=INPUT)
@click.argument("output", type=OUTPUT)
@click.option("--to", "target", type=_LAYOUT, required=True, help="Whose rows to write.")
@click.option("--from", "origin", type=_ORIGIN, help="Whose rows SOURCE has.  [looked for]")
@plan_options
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
    maps: tuple[str, ...],
    no_sources: bool,
    reference: bool,
    prompt_template: Path | None,
    skip_bad: bool,
) -> None:
    """Convert the data set SOURCE into OUTPUT, JSON lines or Parquet by its ending.

    SOURCE is JSON lines, a JSON array, gzip of either, or Parquet, whatever its name.

    A row is a rollout without its response: question, tool_output or snippets, rubrics, id. Its
    prompt is its own (prompt or messages); where it has none, one is made of its question and
    its sources. Rows of public data sets (--from lists them) are recognised and read as they
    are; docs/shapes.md says how. Rows keep their order. OUTPUT appears when it is complete.

    Exit status: 0, 2 where a row is bad or none is left, and nothing was written, 130 when
    interrupted.
    """
    trainer = LAYOUTS[target]
    refuse_overwriting(output, source, prompt_template)
    if suffix_of(output) not in trainer.suffixes:
        known = " or ".join(trainer.suffixes)
        raise DataError(f"{output}: {trainer.title} reads {known} alone")
    if origin in LAYOUTS and (maps or no_sources):
        raise click.UsageError(f"--map and --no-sources are not for rows of {origin}; drop --from")
    plan = make_plan(origin, maps, no_sources=no_sources, reference=reference, wraps="none")
    converter = Converter(
        LAYOUTS.get(origin or ""),
        trainer,
        PromptTemplate(prompt_template),
        plan,
        load_settings().ignored_rubric_keys,
        RowNotes(plan),
    )
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
                row, behind = converter.convert(numbered, converted)
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
                left |= dict.fromkeys(behind)
        if not converted:
            problem = "none of its rows can be used" if skipped else "has no rows"
            raise DataError(f"{source}: {problem}; nothing was written")
    for note in list_notes(converter.notes, rows.beside, left, "left behind"):
        console.print(plain(note, "yellow"), soft_wrap=True)
    summary = f"{count_noun(converted, 'row')} converted"
    if skipped:
        summary += f", {count_noun(skipped, 'bad row')} skipped"
    console.print(plain(f"{summary} for {trainer.title}: {trainer.flags}"), soft_wrap=True)


@dataclass(frozen=True)
class Converter:
    """Rows in the layout of one trainer, from rows of another, or of a known shape."""

    origin: Trainer | None
    target: Trainer
    template: PromptTemplate
    plan: ReadPlan
    ignored: Set[str]
    notes: RowNotes

    def convert(self, numbered: Numbered, index: int) -> tuple[dict[str, Any], list[str]]:
        """The row in its new layout, and the columns that it leaves behind.

        Raises `ValueError`, which names the place and the fault.
        """
        if numbered.row is None:
            raise ValueError(numbered.problem)
        read = self.plan.read(numbered.row)
        try:
            task = task_of(read.fields, self.origin, self.template, self.ignored)
        except EnvelopeError as error:
            problems = [f"{each.loc}: {each.message}" for each in error.details]
            if self.origin is None and any("tool_output" in each for each in problems):
                problems.append("or say --map tool_output=COLUMN, or --no-sources")
            raise ValueError("; ".join(problems)) from error
        task = replace(task, rollout=read.add_reference(task.rollout))
        row = self.target.lay(task, index)
        self.notes.add(read)
        left = read.left if read.shape else unread_in(read.fields)
        # The rows of a shape may name an answer, which no row of a trainer carries.
        kept = {read.reference_at, *(() if read.shape else row)}
        answer = ["response"] if read.shape and "response" in read.fields else []
        return row, [*answer, *(each for each in left if each not in kept)]
