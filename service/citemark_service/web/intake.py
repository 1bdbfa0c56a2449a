"""Bytes to validated rollouts; everything wrong with them is named by item and field."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import ValidationError

from citemark_schemas import BatchOptions, Knobs, ProblemDetail, Rollout
from citemark_service.errors import InvalidRequest, TooLarge, clip
from citemark_service.settings import Settings

_MAX_EXPANDED = 1000
_MAX_KEY = 80
_TURN_S = 0.005
_PREFIX = "Value error, "
_ITEM = re.compile(r"item (\d+): ")

Check = Callable[[Rollout, Knobs], None]
"""Raises `InvalidRequest` for what the schema cannot know, with fields named from the rollout."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A request that may be judged."""

    items: tuple[Rollout, ...]
    options: BatchOptions
    single: bool
    """True where the body was one rollout and the answer is one result."""


class Turns:
    """Lets the event loop do other things whenever a long piece of work has held it."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def yield_if_due(self) -> None:
        """Give way where this turn has lasted 5 ms."""
        if time.perf_counter() - self._since >= _TURN_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()


def place(parts: Iterable[int | str], prefix: str = "") -> str:
    """A pydantic location as `items[3].snippets[0].id`; `body` where it is empty."""
    path = prefix
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{clip(part, _MAX_KEY)}" if path else clip(part, _MAX_KEY)
    return path or "body"


def details_of(errors: Sequence[Any], prefix: str = "") -> tuple[ProblemDetail, ...]:
    """Pydantic's error list as problem details, without any input text that it may quote."""
    return tuple(
        _detail(error["loc"], error["msg"].removeprefix(_PREFIX), prefix) for error in errors
    )


def _detail(loc: tuple[int | str, ...], message: str, prefix: str) -> ProblemDetail:
    """One problem; the shapes of rubrics tell their item in the message, where pydantic cannot."""
    item = _ITEM.match(message)
    if item is None:
        return ProblemDetail(loc=place(loc, prefix), message=message)
    return ProblemDetail(loc=place((*loc, int(item[1])), prefix), message=message[item.end() :])


def validated(raw: bytes | memoryview, knobs: Knobs, check: Check, prefix: str = "") -> Rollout:
    """One rollout from its JSON, validated and checked.

    Raises:
        InvalidRequest: with each field named after `prefix`.
    """
    try:
        rollout = Rollout.model_validate_json(bytes(raw))
        check(rollout, knobs)
    except ValidationError as error:
        raise _misfit(error, prefix) from error
    except InvalidRequest as error:
        details = error.details or (ProblemDetail(loc="", message=str(error)),)
        raise InvalidRequest.of([_placed(detail, prefix) for detail in details]) from error
    return rollout


def _misfit(error: ValidationError, prefix: str = "") -> InvalidRequest:
    if error.error_count() > _MAX_EXPANDED:  # listing a hostile million would take seconds
        message = f"has {error.error_count()} errors, too many to list"
        return InvalidRequest.of([ProblemDetail(loc=place([], prefix), message=message)])
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return InvalidRequest.of(details_of(problems, prefix))


def _placed(detail: ProblemDetail, prefix: str) -> ProblemDetail:
    loc = place([detail.loc] if detail.loc else [], prefix)
    return ProblemDetail(loc=loc, message=detail.message)


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest.of([ProblemDetail(loc="body", message=message)])


def _decoded(raw: bytes | msgspec.Raw, kind: Any, what: str) -> Any:
    """One level of JSON, with everything below left as raw bytes."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise _malformed(f"{what}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(f"is not JSON: {error}") from error
    except RecursionError as error:
        raise _malformed("is nested too deeply") from error


def _options(fields: dict[str, msgspec.Raw], query: BatchOptions) -> BatchOptions:
    """Everything beside `items`, validated as the JSON that it was; it wins over the query."""
    pairs = (msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in fields.items())
    try:
        given = BatchOptions.model_validate_json(b"{" + b",".join(pairs) + b"}")
    except ValidationError as error:
        raise _misfit(error) from error
    return query.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


async def _items(
    raws: Sequence[msgspec.Raw], options: Knobs, settings: Settings, check: Check
) -> tuple[Rollout, ...]:
    rollouts: list[Rollout] = []
    problems: list[ProblemDetail] = []
    turns = Turns()
    for position, raw in enumerate(raws):
        view = memoryview(raw)
        prefix = f"items[{position}]"
        _refuse_long(view.nbytes, settings, prefix)
        try:
            rollouts.append(validated(view, options, check, prefix))
        except InvalidRequest as error:
            problems += error.details
        await turns.yield_if_due()
    if problems:
        raise InvalidRequest.of(problems)
    return tuple(rollouts)


def _refuse_long(length: int, settings: Settings, where: str) -> None:
    if length > settings.max_rollout_bytes:
        raise TooLarge(
            f"{where} is {length} bytes, over max_rollout_bytes, {settings.max_rollout_bytes}"
        )


def _refuse_many(count: int, settings: Settings) -> None:
    if count > settings.max_items:
        raise TooLarge(f"{count} items are more than max_items, {settings.max_items}")


async def parse_batch(
    body: bytes,
    *,
    query: BatchOptions,
    settings: Settings,
    check: Check,
    admit: Callable[[int], None],
) -> Batch:
    """One rollout, or `{"items": […]}` with options; which one, `items` decides.

    Every item is validated and checked before the first is judged. Nothing here holds the event
    loop for longer than one item and one scan for the items' boundaries take.

    Args:
        query: the options of the URL, weaker than those of the body.
        admit: called with the number of items as soon as it is known; raises to refuse them.

    Raises:
        InvalidRequest: naming item and field.
        TooLarge: too many items, or one that is too long.
    """
    fields = _decoded(body, dict[str, msgspec.Raw], "must be a rollout or a batch")
    raw_items = fields.pop("items", None)
    if raw_items is None:
        _refuse_long(len(body), settings, "the rollout")
        return Batch((validated(body, query, check),), query, single=True)
    await asyncio.sleep(0)
    raws = _decoded(raw_items, list[msgspec.Raw], "items")
    await asyncio.sleep(0)
    _refuse_many(len(raws), settings)
    if not raws:
        raise InvalidRequest.of(
            [ProblemDetail(loc="items", message="must hold at least one rollout")]
        )
    admit(len(raws))
    options = _options(fields, query)
    return Batch(await _items(raws, options, settings, check), options, single=False)
