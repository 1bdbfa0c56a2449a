"""Flags that say how rows are read, and what is said of it afterwards."""

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import click
from rich.console import Console

from citemark_schemas import ProblemDetail, Rollout
from citemark_schemas.rows import CHATS
from citemark_schemas.transcript import instructs, question_in
from citemark_service.cli.options import add_options
from citemark_service.cli.terminal import count_noun, plain
from citemark_service.shapes.plan import ReadPlan, ReadRow, Response
from citemark_service.trainers.rows import Row
from citemark_service.trainers.table import prompt_anywhere

Command = Callable[..., object]
_MOST_COLUMNS: Final = 50
_FIELDS: Final = (*Rollout.model_fields, *CHATS)
_LIKELY: Final = {
    "question": ("query", "problem", "instruction", "input", "prompt", "task"),
    "response": ("output", "completion", "prediction", "generation", "answer", "model_response"),
    "tool_output": ("context", "search_results", "documents", "ctxs", "docs", "sources"),
}
"""Columns that often hold what is missing."""


def _parse_maps(_: click.Context, __: click.Parameter, pairs: Sequence[str]) -> Mapping[str, str]:
    """FIELD=COLUMN texts. Raises `click.BadParameter`."""
    maps: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise click.BadParameter(f"{pair!r} is not FIELD=COLUMN", param_hint="--map")
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(_FIELDS[:12])}"
            raise click.BadParameter(f"{name!r} is no field; {hint}", param_hint="--map")
        maps[name] = path
    return maps


def plan_options(origins: Iterable[str], *, scored: bool) -> Callable[[Command], Command]:
    """Add the flags of a `ReadPlan`, which the command gets as `plan`."""
    options = [
        click.option(
            "--from",
            "origin",
            type=click.Choice(tuple(origins)),
            help="Whose rows they are.  [looked for]",
        ),
        click.option(
            "--map",
            "maps",
            multiple=True,
            metavar="FIELD=COLUMN",
            callback=_parse_maps,
            help="Read a field from this column, or dotted path; repeatable.",
        ),
        click.option("--no-sources", is_flag=True, help="Rows without sources have none."),
        click.option(
            "--reference-as-criterion",
            "reference",
            is_flag=True,
            help="Judge agreement with the row's reference answer too.",
        ),
    ]
    if scored:
        told = "Judge a response without an <answer> block as a whole."
        options.append(click.option("--whole-answers", is_flag=True, help=told))

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def run(**flags: Any) -> object:
            given = {
                each.name: flags.pop(each.name) for each in fields(ReadPlan) if each.name in flags
            }
            return command(plan=ReadPlan(**given), **flags)

        return add_options(*options)(run)

    return add


def describe_problems(problems: Iterable[ProblemDetail], row: Row) -> str:
    """All of them, and of what a row lacks how to name its column."""
    told = []
    for each in problems:
        name = each.loc.rpartition(".")[2]
        told.append(f"{each.loc}: {each.message}")
        if name in _FIELDS and each.message.endswith("keep one of them"):
            told[-1] += f", or choose it: --map {name}={each.loc}"
        elif name in _LIKELY:
            column = next((each for each in _LIKELY[name] if each in row), "COLUMN")
            told[-1] += f", or name its column: --map {name}={column}"
            told[-1] += ", or say --no-sources" if name == "tool_output" else ""
    return "; ".join(told)


class RowNotes:
    """What is worth saying of rows that were read by one plan."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._rows = 0
        self._mapped: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self.left: dict[str, None] = {}
        """Dotted paths of what was not read, in order."""

    def add(self, read: ReadRow, rollout: Rollout, response: Response | None = None) -> None:
        self._rows += 1
        self._mapped.update(read.chosen)
        self._counts.update(self._list(read, rollout, response))
        if len(self.left) < _MOST_COLUMNS:
            self.left |= dict.fromkeys(read.left)

    def _list(self, read: ReadRow, rollout: Rollout, response: Response | None) -> Iterator[str]:
        prompt = prompt_anywhere(read.fields)
        if read.shape is not None:
            yield f"read as {read.shape.title}"
        if self._plan.reference and read.reference is None:
            yield "no reference for --reference-as-criterion"
        if rollout.question not in (question_in(prompt) or rollout.question):
            yield "question and prompt ask different things, and the judge sees the question"
        if response is None:
            return
        if instructs(prompt):
            yield "system messages, which the judge does not see"
        if not response.text.strip():
            yield f"{read.answered_at} is empty, so that there is no reward"
        elif response.unmarked and read.whole:
            yield "judged whole, without an <answer> block"
        elif response.unmarked:
            yield "no <answer> block, so no reward; --whole-answers judges such responses whole"

    def show(self, console: Console, beside: Iterable[str], unread: str) -> None:
        """Print them; `unread` says what became of columns that nobody reads."""
        rows = count_noun(self._rows, "row")
        lines = [f"{text}: {count} of {rows}" for text, count in self._counts.items()]
        for name, path in self._plan.maps.items():
            if self._rows and not self._mapped[name]:
                lines.append(f"--map {name}={path}: no row has that column")
        if names := ", ".join(beside):
            lines.append(f"not read, beside the rows: {names}")
        if names := ", ".join(self.left):
            more = " and more" if len(self.left) >= _MOST_COLUMNS else ""
            lines.append(f"{unread}: {names}{more}")
        for line in lines:
            console.print(plain(line, "yellow"), soft_wrap=True)
