"""What a trainer is here: its rows, what its client posts, and what it reads back.

A trainer is one `Trainer` in the module of its name, listed in `table.py`; its route, `citemark
convert` and `citemark doctor` know nothing else of it. All functions in it are pure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pydantic import Field

from citemark_schemas import ProblemDetail, RequestOptions, Rollout, ScoreResult, rollout_of
from citemark_service.errors import InvalidRequest
from citemark_service.examples import RESULT
from citemark_service.trainers.faults import Fault
from citemark_service.trainers.rows import Row, Task, envelope_of, envelope_text, value_at
from citemark_service.trainers.shapes import Shape

Body: TypeAlias = Mapping[str, Any]
"""The JSON object of a request."""
OnError = Literal["fallback", "mask", "null", "http"]
"""What a rollout without a verdict becomes.

`fallback`: the mean reward of its prompt's other rollouts. `mask`: the same, and marked for the
trainer to leave out. `null`: a null reward. `http`: the whole request is answered with 503.
"""
Form = Literal["object", "scalar"]

FALLING_BACK: Final[frozenset[OnError]] = frozenset({"fallback", "http"})
"""For clients that can neither mask a sample nor read a null."""


class RouteOptions(RequestOptions):
    """What the URL of a trainer's route may say; knobs set here are weaker than an envelope's."""

    deadline_s: float | None = Field(None, gt=0, le=3600, allow_inf_nan=False)
    """Seconds until the answer; keep it below the client's own timeout."""
    on_error: OnError | None = None
    """What a rollout becomes whose judge failed; see the route for what it can be there."""
    format: Form = "object"
    """`scalar`: a bare number, on routes that have it."""


@dataclass(frozen=True, slots=True)
class PostedRollout:
    """One rollout as a trainer sends it; the arguments of `citemark_schemas.rollout_of`."""

    places: Mapping[str, object]
    """What stands where row data may be, strongest first, by the names that errors tell."""
    response: str
    prompt: object = None
    tool_output: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trainer is told of one rollout."""

    result: ScoreResult
    reward: float | None
    """Judged, or what stands in for it; None only where `on_error` is `null`. Always finite."""

    @property
    def failed(self) -> bool:
        """Whether nobody judged it."""
        return self.result.failure is not None

    @property
    def ending(self) -> str:
        """In one word: `judged`, or the kind of the refusal or failure."""
        ending = self.result.failure or self.result.refusal
        return "judged" if ending is None else ending.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What one path of the service reads and writes, for one trainer's client."""

    name: str
    """Operation id and metric label."""
    path: str
    client: str
    """Whose protocol this is."""
    read: Callable[[Body], Sequence[PostedRollout]]
    """The rollouts of a body. Raises `InvalidRequest`, best made by `bad_body`."""
    write: Callable[[Sequence[Outcome], Body, RouteOptions], Any]
    """The answer as a JSON value: one outcome for each rollout in order, the body as it was sent,
    and the options, whose `on_error` is given."""
    deadline_s: float
    """Seconds until the answer where the URL says nothing; below the client's timeout."""
    on_error: OnError = "fallback"
    """Where the URL says nothing."""
    permits: frozenset[OnError] = FALLING_BACK
    """What `on_error` may be: nothing that this client breaks on."""
    forms: frozenset[Form] = frozenset({"object"})
    setting: str | None = None
    """The setting that turns the route on; None where it is always there."""
    request: Body
    """An example body, for the documentation."""
    answer: Any = None
    """The example's answer, where the documentation should show another than `write` makes."""
    doc: str
    """What a user of the route should know, for the documentation."""

    @property
    def example(self) -> Any:
        """What `request` is answered with."""
        if self.answer is not None:
            return self.answer
        options = RouteOptions(on_error=self.on_error)
        return self.write([Outcome(RESULT, RESULT.reward)], self.request, options)


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

    def places(self, row: Row) -> Mapping[str, object]:
        """What the reward gets of a row, strongest first, as `rollout_of` takes it."""
        if self.read_places is not None:
            return self.read_places(row)
        places = {path: value_at(row, path) for path in self.paths}
        if self.rest is None:
            return places
        taken = {path.partition(".")[0] for path in (*self.paths, self.prompt_at[0])}
        return {**places, self.rest: {name: row[name] for name in row if name not in taken}}

    def read_rollout(self, row: Row) -> Rollout:
        """The rollout that the reward would be asked about, with an empty response.

        Raises:
            EnvelopeError: there is none; its details name place and field.
        """
        prompt = self.prompt(row) if self.sends_prompt else None
        return rollout_of(self.places(row), response="", prompt=prompt)

    def lay(self, task: Task, index: int) -> dict[str, Any]:
        """The row of a task, which is the file's n-th, counted from 0."""
        row = {
            **self.own_columns(task, index),
            **({} if self.text_at else envelope_of(task.rollout)),
        }
        _put(row, self.prompt_at[0], list(task.prompt))
        if self.text_at is not None:
            _put(row, self.text_at, envelope_text(task.rollout))
        ordered = {name: row[name] for name in self.columns if name in row}
        return ordered | row


def _put(row: dict[str, Any], path: str, value: object) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        row = row.setdefault(folder, {})
    row[name] = value


def bad_body(loc: str, message: str) -> InvalidRequest:
    """The error for a body that this route does not have."""
    return InvalidRequest.of([ProblemDetail(loc=loc, message=message)])


def text_in(body: Body, name: str) -> str:
    """A field that is one text.

    Raises:
        InvalidRequest: it is absent or anything else.
    """
    value = body.get(name)
    if not isinstance(value, str):
        raise bad_body(name, "must be a string")
    return value
