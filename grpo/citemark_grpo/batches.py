"""Rollouts checked, rendered as JSON and cut into batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from citemark_grpo.errors import Refused
from citemark_schemas import Problem, ProblemDetail, Rollout, to_details

RolloutLike = Rollout | Mapping[str, Any]


class Parcel(NamedTuple):
    """One rollout as JSON, and the id that its result must have."""

    id: str
    body: bytes


class Batch(NamedTuple):
    """Neighbouring parcels; `start` is the first one's index in the caller's sequence."""

    start: int
    parcels: Sequence[Parcel]


def pack(rollouts: Sequence[RolloutLike]) -> list[Parcel]:
    """Validate each rollout and render it as JSON.

    Raises `Refused` where a mapping is no valid rollout, or a text is not Unicode.
    """
    return [_pack_one(item, index) for index, item in enumerate(rollouts)]


def _pack_one(item: RolloutLike, index: int) -> Parcel:
    place = f"items[{index}]"
    try:
        rollout = item if isinstance(item, Rollout) else Rollout.model_validate(item)
        # The service would number a rollout without an id within its batch.
        name = str(index) if rollout.id is None else rollout.id
        sent = rollout.model_copy(update={"id": name})
        # Metadata is never judged, so it is not sent.
        return Parcel(name, sent.model_dump_json(exclude_unset=True, exclude={"metadata"}).encode())
    except ValidationError as error:
        cause: Exception = error
        details = to_details(error, place)
    except PydanticSerializationError as error:
        # Python takes strings with lone surrogates, JSON does not.
        cause, details = error, (ProblemDetail(loc=place, message=str(error)),)
    message = f"rollout {index} is invalid"
    raise Refused(Problem(error="invalid_request", message=message, details=details)) from cause


def cut(ready: Sequence[Parcel], *, max_items: int, max_bytes: int) -> Iterator[Batch]:
    """Batches of at most `max_items` parcels and `max_bytes` bytes, in order.

    A parcel larger than `max_bytes` gets a batch of its own.
    """
    start, size = 0, 0
    for index, parcel in enumerate(ready):
        full = index - start >= max_items or size + len(parcel.body) > max_bytes
        if index > start and full:
            yield Batch(start, ready[start:index])
            start, size = index, 0
        size += len(parcel.body)
    if start < len(ready):
        yield Batch(start, ready[start:])
