"""Rollouts made ready to send: checked, numbered, and cut into batches. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from citemark_grpo.errors import Refused
from citemark_schemas import Problem, ProblemDetail, Rollout

RolloutLike = Rollout | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parcel:
    """One rollout as the bytes that travel, under the id that its result must carry."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring parcels; `start` is the first one's index in the caller's sequence."""

    start: int
    parcels: tuple[Parcel, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids that the answer must carry, in order."""
        return tuple(parcel.id for parcel in self.parcels)


def _place(index: int, loc: Iterable[int | str]) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return f"items[{index}]{steps}"


def _checked(item: RolloutLike, index: int) -> Rollout:
    if isinstance(item, Rollout):
        return item
    try:
        return Rollout.model_validate(item)
    except ValidationError as error:
        details = tuple(
            ProblemDetail(loc=_place(index, each["loc"]), message=each["msg"])
            for each in error.errors(include_url=False, include_input=False)
        )
        raise _refused(index, details) from error


def _refused(index: int, details: tuple[ProblemDetail, ...]) -> Refused:
    message = f"rollout {index} is invalid"
    return Refused(Problem(error="invalid_request", message=message, details=details))


def parcels(rollouts: Sequence[RolloutLike]) -> list[Parcel]:
    """Check each rollout and render it as JSON.

    A rollout without an id gets its index in `rollouts`, because the service would number it
    within its batch. The caller's `metadata` stays at home: it is never judged.

    Raises:
        Refused: a mapping is no valid rollout, or a text is not Unicode.
    """
    return [_parcel(_checked(item, index), index) for index, item in enumerate(rollouts)]


def _parcel(rollout: Rollout, index: int) -> Parcel:
    name = str(index) if rollout.id is None else rollout.id
    named = rollout.model_copy(update={"id": name})
    try:
        body = named.model_dump_json(exclude_unset=True, exclude={"metadata"})
    except PydanticSerializationError as error:
        # Python takes strings with lone surrogates, JSON does not.
        detail = ProblemDetail(loc=_place(index, ()), message=str(error))
        raise _refused(index, (detail,)) from error
    return Parcel(name, body.encode())


def cut(ready: Sequence[Parcel], *, max_items: int, max_bytes: int) -> Iterator[Batch]:
    """Cut into batches of at most `max_items` parcels and `max_bytes` bytes of rollouts.

    A parcel that alone exceeds `max_bytes` travels alone. Order is kept and none is lost.
    """
    start, size = 0, 0
    for index, parcel in enumerate(ready):
        full = index - start >= max_items or size + len(parcel.body) > max_bytes
        if index > start and full:
            yield Batch(start, tuple(ready[start:index]))
            start, size = index, 0
        size += len(parcel.body)
    if start < len(ready):
        yield Batch(start, tuple(ready[start:]))
