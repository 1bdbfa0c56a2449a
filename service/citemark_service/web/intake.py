"""Bytes to validated rollouts, with errors named by item and field."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from fastapi import Header, Request
from pydantic import ValidationError

from citemark_schemas import (
    BatchOptions,
    Knobs,
    Priority,
    ProblemDetail,
    RequestOptions,
    Rollout,
    to_details,
)
from citemark_service.errors import InvalidRequest, TooLarge
from citemark_service.judges.tasks import Origin
from citemark_service.settings import Settings

_TURN_S = 0.005
_PRIORITIES: Final[Mapping[Priority, int]] = {"training": 0, "audit": 10}

ReadRollout = Callable[[bytes, Knobs], Rollout]
"""`Pipeline.read`: raises `ValidationError`, and `InvalidRequest` for what the schema cannot
express; fields start at the rollout."""

CallerName = Annotated[
    str | None,
    Header(
        alias="X-Citemark-Caller",
        max_length=64,
        pattern=r"^[!-~]+$",
        description="Requests of one name share their part of the judge; the address by default.",
    ),
]


class Batch(NamedTuple):
    """A validated request."""

    items: tuple[Rollout, ...]
    options: BatchOptions
    single: bool  # the body was one rollout, and the answer is one result


class Turns:
    """Gives way to the event loop where a turn of long work has lasted 5 ms."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def yield_if_due(self) -> None:
        if time.perf_counter() - self._since >= _TURN_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


def to_origin(request: Request, caller: str | None, options: RequestOptions) -> Origin:
    """The origin of a request's tasks: its `caller` header, or else its address."""
    address = "" if request.client is None else request.client.host
    return Origin(caller or address, _PRIORITIES[options.priority], options.run, options.step)


def parse_rollout(
    raw: bytes | memoryview, knobs: Knobs, read: ReadRollout, prefix: str = ""
) -> Rollout:
    """One validated and checked rollout. `InvalidRequest` names fields below `prefix`."""
    try:
        return read(bytes(raw), knobs)
    except ValidationError as error:
        raise InvalidRequest.of(to_details(error, prefix)) from error
    except InvalidRequest as error:
        # The check does not know the item: its fields get the prefix here.
        above = f"{prefix}." if prefix else ""
        raise InvalidRequest.of(
            [ProblemDetail(loc=above + each.loc, message=each.message) for each in error.details]
        ) from error


async def parse_batch(
    body: bytes,
    query: BatchOptions,
    limits: Settings,
    read: ReadRollout,
    admit: Callable[[int], None],
) -> Batch:
    """One rollout, or `{"items": […]}` with options, told apart by `items`.

    Args:
        query: the options of the URL, weaker than those of the body.
        admit: called with the number of items as soon as it is known; raises to refuse them.

    Raises:
        InvalidRequest: naming item and field, before any item is judged.
        TooLarge: too many items, or one that is too long.
    """
    fields = _decode(body, dict[str, msgspec.Raw], "must be a rollout or a batch")
    raw_items = fields.pop("items", None)
    if raw_items is None:
        _refuse_long(len(body), limits, "the rollout")
        return Batch((parse_rollout(body, query, read),), query, single=True)
    # The loop runs between the scans: each may take long, and only finds the boundaries.
    await asyncio.sleep(0)
    raws = _decode(raw_items, list[msgspec.Raw], "items")
    await asyncio.sleep(0)
    if len(raws) > limits.max_items:
        raise TooLarge(f"{len(raws)} items are more than max_items, {limits.max_items}")
    if not raws:
        raise _to_refusal("must hold at least one rollout", loc="items")
    admit(len(raws))
    # Pydantic parses the options alone; the items are still raw.
    pairs = (msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in fields.items())
    try:
        own = BatchOptions.model_validate_json(b"{" + b",".join(pairs) + b"}")
    except ValidationError as error:
        raise InvalidRequest.of(to_details(error)) from error
    # Defaults of the body must not replace what the URL sets.
    options = query.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
    rollouts: list[Rollout] = []
    problems: list[ProblemDetail] = []
    turns = Turns()
    for position, raw in enumerate(raws):
        # Only for its length; an item is copied when it is parsed.
        view = memoryview(raw)
        prefix = f"items[{position}]"
        _refuse_long(view.nbytes, limits, prefix)
        try:
            rollouts.append(parse_rollout(view, options, read, prefix))
        except InvalidRequest as error:
            problems += error.details
        await turns.yield_if_due()
    if problems:
        raise InvalidRequest.of(problems)
    return Batch(tuple(rollouts), options, single=False)


def _decode(raw: bytes | msgspec.Raw, kind: Any, what: str) -> Any:
    """One level of JSON, with everything below left as raw bytes."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _to_refusal(f"{what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _to_refusal(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise _to_refusal("is nested too deeply") from error


def _to_refusal(message: str, loc: str = "body") -> InvalidRequest:
    return InvalidRequest.of([ProblemDetail(loc=loc, message=message)])


def _refuse_long(length: int, limits: Settings, where: str) -> None:
    limit = limits.max_rollout_bytes
    if length > limit:
        raise TooLarge(f"{where} is {length} bytes, over max_rollout_bytes, {limit}")
