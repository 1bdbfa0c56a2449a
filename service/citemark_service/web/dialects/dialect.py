"""What a trainer's protocol is here: how its body is read, and how its answer is written. Pure.

A new dialect is a module with one `Dialect`, named in `table.py`. Its `read` and `write` know
neither pipeline nor network; the engine calls them inside its bounds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import Field

from citemark_schemas import ProblemDetail, RequestOptions, ScoreResult
from citemark_service.errors import InvalidRequest
from citemark_service.web.intake import invalid

OnError = Literal["fallback", "mask", "null", "http"]
"""What a rollout without a verdict becomes.

`fallback`: the mean reward of its prompt's other rollouts. `mask`: the same, and marked for the
trainer to leave out. `null`: a null reward. `http`: the whole request is answered with 503.
"""

Form = Literal["object", "scalar"]

FALLING_BACK: Final[frozenset[OnError]] = frozenset({"fallback", "http"})
"""For clients that can neither mask a sample nor read a null."""


class DialectOptions(RequestOptions):
    """What the URL of a dialect may say; knobs set here are weaker than an envelope's."""

    deadline_s: float | None = Field(None, gt=0, le=3600, allow_inf_nan=False)
    """Seconds until the answer; keep it below the client's own timeout."""
    on_error: OnError | None = None
    """What a rollout becomes whose judge failed; see the route for what it can be there."""
    format: Form = "object"
    """`scalar`: a bare number, on routes that have it."""


@dataclass(frozen=True, slots=True)
class Sample:
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
    def told(self) -> str:
        """In one word: `judged`, or the kind of the refusal or failure."""
        ending = self.result.failure or self.result.refusal
        return "judged" if ending is None else ending.kind.value


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that an answer is written for."""

    body: Mapping[str, Any]
    """As it was sent, for dialects that echo it."""
    options: DialectOptions
    on_error: OnError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One route's protocol."""

    name: str
    """Operation id and metric label."""
    path: str
    client: str
    """Whose protocol this is."""
    read: Callable[[Mapping[str, Any]], Sequence[Sample]]
    """The rollouts of a body. Raises `InvalidRequest`, best made by `misshapen`."""
    write: Callable[[Sequence[Outcome], Asked], Any]
    """The answer as a JSON value, from one outcome for each sample, in order."""
    deadline_s: float
    """Seconds until the answer where the URL says nothing; below the client's timeout."""
    on_error: OnError = "fallback"
    """Where the URL says nothing."""
    permits: frozenset[OnError] = FALLING_BACK
    """What `on_error` may be: nothing that this client breaks on."""
    forms: frozenset[Form] = frozenset({"object"})
    request: Mapping[str, Any] = field(default_factory=dict)
    """An example body, for the documentation."""
    answer: Any = None
    """An example answer."""
    doc: str = ""
    """What a user of the route should know, for the documentation."""


def misshapen(loc: str, message: str) -> InvalidRequest:
    """The error for a body that this dialect does not have."""
    return invalid([ProblemDetail(loc=loc, message=message)])


def texts(body: Mapping[str, Any], name: str) -> list[str]:
    """A field that is a list of texts, or one text.

    Raises:
        InvalidRequest: it is absent or anything else.
    """
    value = body.get(name)
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise misshapen(name, "must be a list of strings")
    for position, item in enumerate(listed):
        if not isinstance(item, str):
            raise misshapen(f"{name}[{position}]", "must be a string")
    return listed


def text(body: Mapping[str, Any], name: str) -> str:
    """A field that is one text.

    Raises:
        InvalidRequest: it is absent or anything else.
    """
    value = body.get(name)
    if not isinstance(value, str):
        raise misshapen(name, "must be a string")
    return value
