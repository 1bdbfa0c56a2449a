"""`Trainer`, the description of a trainer that routes, `convert` and `doctor` work from. Pure."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from citemark_schemas import Rollout, rollout_of
from citemark_schemas.cells import value_at
from citemark_service.trainers.faults import Fault
from citemark_service.trainers.route import Body, Route
from citemark_service.trainers.rows import JUDGED, Row, Shape, Task, envelope_of, envelope_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A trainer's data layout and reward protocol; places are dotted paths into a row."""

    name: str
    title: str
    carries: str
    """Where rows carry the envelope, for messages."""
    flags: str
    """The trainer's options for a converted file, for messages."""
    columns: Mapping[str, Shape]
    """Columns of a converted row, in order."""
    prompt_at: tuple[str, ...] = ("prompt",)
    """Possible places of the prompt; conversion writes the first."""
    text_prompt: bool = True
    """Whether a prompt may be text instead of messages."""
    text_at: str | None = None
    """Where conversion writes the envelope as JSON text; None: its fields become columns."""
    envelope_at: tuple[str, ...] = ()
    """Where the reward looks for the envelope, highest precedence first; default: `text_at`."""
    rest: str | None = None
    """The name in errors of all other keys of a row; None where the reward does not get them."""
    read_places: Callable[[Row], Mapping[str, object]] | None = None
    """The places that the reward gets of a row, instead of `envelope_at` and `rest`."""
    own_columns: Callable[[Task, int], Mapping[str, Any]] = lambda _task, _index: {}
    """Further columns of the file's n-th row, from 0."""
    faults: Callable[[Row], Iterator[Fault]] = lambda _row: iter(())
    """Checks of a row besides those of prompt and envelope."""
    sends_prompt: bool = True
    """Whether the reward gets the prompt, which may then replace question and sources."""
    one_type: bool = True
    """Whether rows pass through Arrow, which requires one type per column."""
    suffixes: tuple[str, ...] = (".jsonl", ".parquet")
    routes: tuple[Route, ...] = ()
    posts: Callable[[Row, str], Mapping[str, Body]] | None = None
    """The bodies that its client posts for a row and a response, by path, in order; None where
    a Python function posts to `/v1/score`."""
    reward: Callable[[Any], float | None] = lambda _answer: None
    """The reward in the JSON of the last answer; None if masked or the judge failed. Raises
    `ValueError`, `LookupError` or `TypeError` where the client could not read the answer."""

    @property
    def paths(self) -> tuple[str, ...]:
        return self.envelope_at or tuple(filter(None, [self.text_at]))

    def prompt(self, row: Row) -> object:
        """The value of the first of `prompt_at` that a row has, or None."""
        values = (value_at(row, path) for path in self.prompt_at)
        return next((value for value in values if value is not None), None)

    def read_rollout(self, row: Row, ignored: Set[str] = frozenset()) -> Rollout:
        """The rollout that the reward would get, with no response.

        `ignored` is the setting `ignored_rubric_keys`. Raises `EnvelopeError`.
        """
        places: dict[str, object] = {path: value_at(row, path) for path in self.paths}
        if self.rest is not None:
            taken = {path.partition(".")[0] for path in (*self.paths, self.prompt_at[0])}
            places[self.rest] = {name: row[name] for name in row if name not in taken}
        prompt = self.prompt(row) if self.sends_prompt else None
        return rollout_of(
            self.read_places(row) if self.read_places else places,
            response="",
            prompt=prompt,
            ignored_rubric_keys=ignored,
            agreeing=JUDGED,
        )

    def lay(self, task: Task, index: int) -> dict[str, Any]:
        """The row of a task in this layout; `index` is its position in the file, from 0."""
        row = dict(self.own_columns(task, index))
        _put(row, self.prompt_at[0], list(task.prompt))
        if self.text_at is None:
            row |= envelope_of(task.rollout)
        else:
            _put(row, self.text_at, envelope_text(task.rollout))
        return {name: row[name] for name in self.columns if name in row} | row


def _put(row: dict[str, Any], path: str, value: object) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        row = row.setdefault(folder, {})
    row[name] = value
