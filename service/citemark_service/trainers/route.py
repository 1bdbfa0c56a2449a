"""A path of the service in a trainer's own protocol: what is posted to it, and its answer. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import Field

from citemark_schemas import ProblemDetail, RequestOptions, ScoreResult
from citemark_service.errors import InvalidRequest
from citemark_service.examples import RESULT

Body: TypeAlias = Mapping[str, Any]
"""The JSON object of a request."""
OnError = Literal["fallback", "mask", "null", "http"]
"""What a rollout without a verdict becomes.

`fallback`: the mean reward of its prompt's other rollouts. `mask`: the same, and marked for the
trainer to leave out. `null`: a null reward. `http`: the whole request is answered with 503.
"""
Form = Literal["object", "scalar"]


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
    response: str
    prompt: object = None
    tool_output: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trainer is told of one rollout."""

    result: ScoreResult
    reward: float | None
    """Judged, or what stands in for it; None only where `on_error` is `null`. Always finite."""
    masked: bool = False
    """Not judged, and to be left out by the trainer."""

    @property
    def failed(self) -> bool:
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
    write: Callable[[Sequence[Outcome], Body], Any]
    """The answer as a JSON value, of one outcome for each rollout in order and the body as sent."""
    deadline_s: float
    """Seconds until the answer where the URL says nothing; below the client's timeout."""
    on_error: OnError = "fallback"
    """Where the URL says nothing."""
    permits: frozenset[OnError] = frozenset({"fallback", "http"})
    """What `on_error` may be; the default suits clients that can neither mask nor read a null."""
    scalar: bool = False
    """Whether `?format=scalar` may ask for the answer's `reward` alone."""
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
        return self.answer or self.write([Outcome(RESULT, RESULT.reward)], self.request)


def settle_options(route: Route, options: RouteOptions) -> RouteOptions:
    """The options with an `on_error`; `InvalidRequest` where the client cannot live with them."""
    if options.format == "scalar" and not route.scalar:
        raise bad_body("format", f"cannot be {options.format!r} on {route.path}")
    chosen = options.on_error or route.on_error
    if chosen not in route.permits:
        permitted = ", ".join(sorted(route.permits))
        raise bad_body("on_error", f"cannot be {chosen!r} on {route.path}, only {permitted}")
    return options.model_copy(update={"on_error": chosen})


def bad_body(loc: str, message: str) -> InvalidRequest:
    """The error for a body that this route does not have."""
    return InvalidRequest.of([ProblemDetail(loc=loc, message=message)])


def text_in(body: Body, name: str) -> str:
    """A field that is one text. Raises `InvalidRequest` where it is absent or anything else."""
    value = body.get(name)
    if not isinstance(value, str):
        raise bad_body(name, "must be a string")
    return value
