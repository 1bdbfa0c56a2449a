"""What a trainer is here: its rows, what its client posts, and what it reads back.

A trainer is one `Trainer` in the module of its name, listed in `table.py`; its route, `citemark
convert` and `citemark doctor` know nothing else of it. All functions in it are pure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from citemark_schemas import Rollout, rollout_of
from citemark_service.trainers.faults import Fault
from citemark_service.trainers.route import Body, Route
from citemark_service.trainers.rows import Row, Shape, Task, envelope_of, envelope_text, value_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """A trainer: where things stand in a row, what it cannot take, and how it asks for rewards.

    Places in a row are dotted paths, as `reward_model.ground_truth`.
    """

    name: str
    """On the command line."""
    title: str
    carries: str
    """Where the envelope travels, for people."""
    flags: str
    """What to tell the trainer about a converted file."""
    columns: Mapping[str, Shape]
    """What a converted row may hold, in order."""
    prompt_at: tuple[str, ...] = ("prompt",)
    """Where the prompt may stand; a converted row has it at the first."""
    text_prompt: bool = True
    """Whether the trainer takes a text for a prompt."""
    text_at: str | None = None
    """Where a converted row has the envelope as JSON text; None lays its fields out as keys."""
    envelope_at: tuple[str, ...] = ()
    """Where the reward looks for the envelope, strongest first; `text_at` if empty."""
    rest: str | None = None
    """What errors call the row's other keys, where the reward gets those too."""
    read_places: Callable[[Row], Mapping[str, object]] | None = None
    """What the reward gets of a row, where `envelope_at` and `rest` do not say it."""
    own_columns: Callable[[Task, int], Mapping[str, Any]] = lambda _task, _index: {}
    """What the file's n-th row (from 0) has beside prompt and envelope."""
    faults: Callable[[Row], Iterator[Fault]] = lambda _row: iter(())
    """What is wrong with a row for this trainer, beside its prompt and its envelope."""
    sends_prompt: bool = True
    """Whether the reward sees the prompt, so that it may stand in for question and sources."""
    one_type: bool = True
    """Whether rows pass through Arrow, which wants one type for each column."""
    suffixes: tuple[str, ...] = (".jsonl", ".parquet")
    """File endings that it reads."""
    routes: tuple[Route, ...] = ()
    posts: Callable[[Row, str], Mapping[str, Body]] | None = None
    """The bodies that its client posts for a row and a response, by path in order, as `citemark
    doctor` does; None where a Python callable posts to `/v1/score`."""
    reward: Callable[[Any], float | None] = lambda _answer: None
    """The reward in the JSON of the last answer; None where the sample is masked or the judge
    failed. Raises `ValueError`, `LookupError` or `TypeError` where the client could not read it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """`envelope_at`, or the one place of the envelope's text."""
        return self.envelope_at or tuple(filter(None, [self.text_at]))

    def prompt(self, row: Row) -> object:
        """The prompt as it stands in a row; None where it does not."""
        values = (value_at(row, path) for path in self.prompt_at)
        return next((value for value in values if value is not None), None)

    def read_rollout(self, row: Row) -> Rollout:
        """The rollout that the reward would be asked about, with an empty response.

        Raises `EnvelopeError`, whose details name place and field, where there is none.
        """
        places: dict[str, object] = {path: value_at(row, path) for path in self.paths}
        if self.rest is not None:
            taken = {path.partition(".")[0] for path in (*self.paths, self.prompt_at[0])}
            places[self.rest] = {name: row[name] for name in row if name not in taken}
        prompt = self.prompt(row) if self.sends_prompt else None
        return rollout_of(
            self.read_places(row) if self.read_places else places, response="", prompt=prompt
        )

    def lay(self, task: Task, index: int) -> dict[str, Any]:
        """The row of a task, which is the file's n-th, counted from 0."""
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
