"""Rollouts checked, rendered as JSON and cut into batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from citemark_schemas import ProblemDetail, Rollout, to_details

RolloutLike = Rollout | Mapping[str, Any]


class Parcel(NamedTuple):
    """One rollout as JSON, its place in the caller's sequence, and the id of its result."""

    place: int
    id: str
    body: bytes


def pack(rollouts: Sequence[RolloutLike]) -> tuple[list[Parcel], list[ProblemDetail]]:
    """Validate each rollout and render it as JSON.

    Also returns what is wrong with those that are no valid rollout or hold a text that is not
    Unicode, which are left out.
    """
    parcels: list[Parcel] = []
    problems: list[ProblemDetail] = []
    for index, item in enumerate(rollouts):
        try:
            parcels.append(_pack_one(item, index))
        except ValidationError as error:
            problems += to_details(error, f"items[{index}]")
        except PydanticSerializationError as error:
            # Python takes strings with lone surrogates, JSON does not.
            problems.append(ProblemDetail(loc=f"items[{index}]", message=str(error)))
    return parcels, problems


def _pack_one(item: RolloutLike, index: int) -> Parcel:
    rollout = item if isinstance(item, Rollout) else Rollout.model_validate(item)
    # The service would number a rollout without an id within its batch.
    name = str(index) if rollout.id is None else rollout.id
    sent = rollout.model_copy(update={"id": name})
    # Metadata is never judged, so it is not sent.
    body = sent.model_dump_json(exclude_unset=True, exclude={"metadata"}).encode()
    return Parcel(index, name, body)


def cut(ready: Sequence[Parcel], *, max_items: int, max_bytes: int) -> Iterator[Sequence[Parcel]]:
    """Batches of at most `max_items` parcels and `max_bytes` bytes, in order.

    A parcel larger than `max_bytes` gets a batch of its own.
    """
    start, size = 0, 0
    for index, parcel in enumerate(ready):
        full = index - start >= max_items or size + len(parcel.body) > max_bytes
        if index > start and full:
            yield ready[start:index]
            start, size = index, 0
        size += len(parcel.body)
    if start < len(ready):
        yield ready[start:]
