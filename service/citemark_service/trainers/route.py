"""`Route`, a path of the service in a trainer's own protocol. Pure."""

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
"""The answer for a rollout whose judge failed.

`fallback`: the mean reward of its prompt's other rollouts. `mask`: the same, and marked for the
trainer to leave out. `null`: a null reward. `http`: 503 for the whole request.
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
    """A rollout as a trainer posts it: arguments of `citemark_schemas.rollout_of`."""

    places: Mapping[str, object]
    response: str
    prompt: object = None
    tool_output: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, and the reward to answer with."""

    result: ScoreResult
    reward: float | None
    """Finite; the result's, or the fallback. None only where `on_error` is `null`."""
    masked: bool = False
    """The judge failed, and the trainer should leave the sample out."""

    @property
    def failed(self) -> bool:
        return self.result.failure is not None

    @property
    def ending(self) -> str:
        """`judged`, or the kind of the failure or refusal."""
        ending = self.result.failure or self.result.refusal
        return "judged" if ending is None else ending.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    name: str
    """Operation id and metric label."""
    path: str
    client: str
    read: Callable[[Body], Sequence[PostedRollout]]
    """Parses a body. Raises `InvalidRequest`, see `bad_body`."""
    write: Callable[[Sequence[Outcome], Body], Any]
    """Makes the answer, a JSON value, from the outcomes in order and the body as posted."""
    deadline_s: float
    """Default of `?deadline_s=`; below the client's own timeout."""
    on_error: OnError = "fallback"
    """Default of `?on_error=`."""
    permits: frozenset[OnError] = frozenset({"fallback", "http"})
    """Permitted `?on_error=`; the default is for clients that can neither mask nor read null."""
    scalar: bool = False
    """Whether `?format=scalar` is permitted: the answer is its `reward` alone."""
    setting: str | None = None
    """The setting that turns the route on; None where it is always on."""
    request: Body
    """An example body for the API documentation."""
    answer: Any = None
    """The documented answer to `request`; default: what `write` makes."""
    doc: str
    """The description in the API documentation."""

    @property
    def example(self) -> Any:
        return self.answer or self.write([Outcome(RESULT, RESULT.reward)], self.request)


def settle_options(route: Route, options: RouteOptions) -> RouteOptions:
    """The options with `on_error` set; `InvalidRequest` where the route does not permit them."""
    if options.format == "scalar" and not route.scalar:
        raise bad_body("format", f"cannot be {options.format!r} on {route.path}")
    chosen = options.on_error or route.on_error
    if chosen not in route.permits:
        permitted = ", ".join(sorted(route.permits))
        raise bad_body("on_error", f"cannot be {chosen!r} on {route.path}, only {permitted}")
    return options.model_copy(update={"on_error": chosen})


def bad_body(loc: str, message: str) -> InvalidRequest:
    return InvalidRequest.of([ProblemDetail(loc=loc, message=message)])


def text_in(body: Body, name: str) -> str:
    """A required text field of a body. Raises `InvalidRequest`."""
    value = body.get(name)
    if not isinstance(value, str):
        raise bad_body(name, "must be a string")
    return value
