"""Flags that say how rows are read, and what is said of it afterwards."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeVar

import click

from citemark_schemas import Rollout
from citemark_service.shapes.plan import ReadPlan, ReadRow
from citemark_service.shapes.table import SHAPES

Command = TypeVar("Command", bound=Callable[..., object])
_FIELDS: Final = (*Rollout.model_fields, "prompt", "messages")

_OPTIONS: Final = (
    click.option(
        "--map",
        "maps",
        multiple=True,
        metavar="FIELD=COLUMN",
        help="Read a field from this column, or dotted path; repeatable.",
    ),
    click.option("--no-sources", is_flag=True, help="Rows without sources have none."),
    click.option(
        "--reference-as-criterion",
        "reference",
        is_flag=True,
        help="Judge agreement with the row's reference answer too.",
    ),
)


def plan_options(command: Command) -> Command:
    """Add --map, --no-sources and --reference-as-criterion."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def parse_maps(pairs: Sequence[str]) -> Mapping[str, str]:
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


def list_notes(
    notes: "RowNotes", beside: Iterable[str], left: Iterable[str], doing: str
) -> Iterator[str]:
    """All that is worth saying of a file; `doing` says what became of the columns `left`."""
    yield from notes.lines()
    if names := ", ".join(beside):
        yield f"not read, beside the rows: {names}"
    if names := ", ".join(left):
        yield f"{doing}: {names}"


def make_plan(
    origin: str | None,
    maps: Sequence[str],
    *,
    no_sources: bool,
    reference: bool,
    wraps: Literal["none", "shapes", "all"],
) -> ReadPlan:
    """The plan of the flags; `origin` may be a trainer's name, whose rows have no shape."""
    return ReadPlan(
        shape=SHAPES.get(origin or ""),
        detect=origin is None,
        maps=parse_maps(maps),
        reference=reference,
        no_sources=no_sources,
        wraps=wraps,
    )


class RowNotes:
    """What is worth saying of rows that were read by one plan."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._rows = 0
        self._shapes: Counter[str] = Counter()
        self._mapped: Counter[str] = Counter()
        self._references = 0
        self._wrapped = 0

    def add(self, read: ReadRow) -> None:
        self._rows += 1
        if read.shape is not None:
            self._shapes[read.shape.title] += 1
        self._mapped.update(name for name in self._plan.maps if name in read.fields)
        self._references += read.reference is not None
        self._wrapped += read.wrapped

    def lines(self) -> Iterator[str]:
        for title, count in self._shapes.items():
            yield f"read as {title}: {count} of {self._rows} rows"
        if self._wrapped:
            yield f"judged whole, without an <answer> block: {self._wrapped} responses"
        for name, path in self._plan.maps.items():
            if self._rows and not self._mapped[name]:
                yield f"--map {name}={path}: no row has that column"
        if self._plan.reference and self._references < self._rows:
            missing = self._rows - self._references
            yield f"--reference-as-criterion: {missing} of {self._rows} rows have no reference"
