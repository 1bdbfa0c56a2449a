"""`citemark convert`: a data set from one trainer's layout, or Citemark's, into another's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from citemark_rubrics import load_library
from citemark_schemas import EnvelopeError, Knobs
from citemark_service.cli.options import INPUT, OUTPUT, refuse_overwriting
from citemark_service.cli.plans import RowNotes, describe_problems, plan_options
from citemark_service.cli.terminal import Progress, count_noun, plain
from citemark_service.errors import DataError, InvalidRequest
from citemark_service.row_files import Numbered, RowFile
from citemark_service.score.criteria import check_rollout
from citemark_service.settings import load_settings
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.table import SHAPES
from citemark_service.trainers.files import open_writer, suffix_of
from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import LAYOUTS, task_of
from citemark_service.trainers.trainer import Trainer

_LAYOUT = click.Choice(tuple(LAYOUTS))


@click.command("convert")
@click.argument("source", type=INPUT)
@click.argument("output", type=OUTPUT)
@click.option("--to", "target", type=_LAYOUT, required=True, help="Whose rows to write.")
@plan_options((*LAYOUTS, *SHAPES), scored=False)
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
    plan: ReadPlan,
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
    if plan.origin in LAYOUTS and (plan.maps or plan.no_sources):
        told = f"--map and --no-sources are not for rows of {plan.origin}; drop --from"
        raise click.UsageError(told)
    converter = Converter(trainer, PromptTemplate(prompt_template), plan)
    converted, skipped = 0, 0
    console = Console(stderr=True)
    rows = RowFile(source)
    with (
        Progress(console, rows.count(), "converting") as progress,
        open_writer(output, trainer.columns) as write,
    ):
        for numbered in progress.track(rows):
            problem = ""
            try:
                write(converter.convert(numbered, converted))
            except ValueError as error:
                problem = f"{numbered.place}: {error}"
            if problem and not skip_bad:
                raise DataError(problem)
            if problem:
                skipped += 1
                progress.complain(problem)
                continue
            converted += 1
        if not converted:
            problem = "none of its rows can be used" if skipped else "has no rows"
            raise DataError(f"{source}: {problem}; nothing was written")
    converter.notes.show(console, rows.beside, "left behind")
    summary = f"{count_noun(converted, 'row')} converted"
    if skipped:
        summary += f", {count_noun(skipped, 'bad row')} skipped"
    console.print(plain(f"{summary} for {trainer.title}: {trainer.flags}"), soft_wrap=True)


class Converter:
    """Rows in the layout of one trainer, from rows of another, or of a known shape."""

    def __init__(self, target: Trainer, template: PromptTemplate, plan: ReadPlan) -> None:
        self._target, self._template, self._plan = target, template, plan
        self._origin = LAYOUTS.get(plan.origin or "")
        self._settings = load_settings()
        self._library = load_library(self._settings.rubrics_dir)
        self.notes = RowNotes(plan)

    def convert(self, numbered: Numbered, index: int) -> dict[str, Any]:
        """The row in its new layout. Raises `ValueError`, which names the place and the fault."""
        if numbered.row is None:
            raise ValueError(numbered.problem)
        read = self._plan.read(numbered.row, scored=False)
        try:
            ignored = self._settings.ignored_rubric_keys
            task = task_of(read.fields, self._origin, self._template, ignored, **read.reading)
            # Whether the policy stops is not known yet.
            stopped = task.rollout.model_copy(update={"finish_reason": "stop"})
            check_rollout(stopped, Knobs.resolve(self._settings, stopped), self._library)
        except (EnvelopeError, InvalidRequest) as error:
            raise ValueError(describe_problems(error.details, numbered.row)) from error
        row = self._target.lay(replace(task, rollout=read.add_reference(task.rollout)), index)
        # A column of the new layout may have the name of one that was not read.
        kept = row if read.shape is None else {}
        left = tuple(each for each in read.left if each not in kept)
        self.notes.add(replace(read, left=left), task.rollout)
        return row
