"""Request bodies: read within bounds, and parsed to rollouts with errors by item and field."""

import asyncio
import io
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from fastapi import Header, Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from citemark_schemas import (
    BatchOptions,
    Knobs,
    Priority,
    ProblemDetail,
    RequestOptions,
    Rollout,
    to_details,
)
from citemark_schemas.bulk import Bulky, refuse_bulky
from citemark_schemas.details import clip
from citemark_service.errors import BodyTimeout, InvalidRequest, TooLarge, UnknownCoding
from citemark_service.json_bodies import BROKEN, repair, split_list
from citemark_service.judges.tasks import Origin
from citemark_service.settings import Settings
from citemark_service.threads import INLINE
from citemark_service.trainers.route import bad_body
from citemark_service.web.admission import Admission, Hold

_TURN_S = 0.005
_CODINGS: Final = ("gzip", "deflate")
_PIECE: Final = 1024 * 1024
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
T = TypeVar("T")
RunFairly: TypeAlias = Callable[[Callable[[], T]], Awaitable[T]]
"""`FairThreads.run` of one caller."""


async def read_body(
    request: Request, admission: Admission, held: Hold, *, limit: int | None = None
) -> bytes:
    """The whole body, inflated; its bytes count in `held` until the caller closes that.

    Raises:
        UnknownCoding: it is neither plain nor gzip nor deflate.
        InvalidRequest: what is sent as gzip or deflate is none.
        TooLarge: over `limit` bytes; where `Content-Length` says so, before any byte is read. Or
            its JSON would take much more.
        Overloaded: the service buffers as many bytes as it may.
        BodyTimeout: the client sent nothing for `body_timeout_s` seconds, or not all of it within
            `body_deadline_s`.
        ShuttingDown: the client sent nothing while the service drains.
        ClientDisconnect: the client went away.
    """
    settings = admission.settings
    limit, silence_s = limit or settings.max_body_bytes, settings.body_timeout_s
    late = time.monotonic() + settings.body_deadline_s
    declared = request.headers.get("content-length", "")
    # `int` alone would also take signs, blanks and the digits of other scripts.
    length = int(declared) if declared.isascii() and declared.isdigit() else 0
    body, more = io.BytesIO(), True  # which gives its bytes without copying them
    while length <= limit and more:
        try:
            async with admission.patience(min(silence_s, late - time.monotonic())):
                chunk, more = await _next_chunk(request.receive)
        except TimeoutError as error:
            # A draining service has shortened the wait itself: 503, and no 408.
            admission.require_open()
            if time.monotonic() >= late:
                slow = (
                    f"the body did not end within body_deadline_s, {settings.body_deadline_s:g} s"
                )
                raise BodyTimeout(slow) from error
            raise BodyTimeout(f"nothing more of the body came for {silence_s:g} s") from error
        length = body.tell() + len(chunk)
        if length <= limit:
            held.take(len(chunk))
            body.write(chunk)
    if length > limit:
        raise TooLarge(f"the body is larger than max_body_bytes, {limit} bytes")
    # One a turn of the loop, oldest first: of requests that come together the first is then
    # before the judge while others are still to be parsed.
    async with admission.turn:
        await asyncio.sleep(0)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    whole, turns = body.getvalue(), Turns()
    body.close()
    if coding != "identity":
        whole = await _inflate(whole, coding, held, limit)
    try:
        for _ in refuse_bulky(whole, most=settings.max_decoded_bytes):
            await turns.yield_if_due()
    except Bulky as error:
        way = "send fewer rows at a time, or fewer and longer values (see max_decoded_bytes)"
        raise TooLarge(f"the body {error}: {way}") from error
    return whole


async def _inflate(body: bytes, coding: str, held: Hold, limit: int) -> bytes:
    """What `body` was before it was compressed; raises as `read_body`."""
    if coding not in _CODINGS:
        names = " or ".join(_CODINGS)
        raise UnknownCoding(f"Content-Encoding {clip(coding, 40)!r} is not read; send {names}")
    # Either header is told apart by zlib itself; some clients send deflate without any.
    bare = coding == "deflate" and body[:1] and body[0] & 0x0F != zlib.DEFLATED
    inflater = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
    plain, rest, turns = bytearray(), body, Turns()
    try:
        while not inflater.eof:
            piece = inflater.decompress(rest, _PIECE)
            rest = inflater.unconsumed_tail
            if not piece and not rest and not inflater.eof:
                raise bad_body("body", f"ends before its {coding} does")
            if len(plain) + len(piece) > limit:
                raise TooLarge(f"the body is larger than max_body_bytes, {limit} bytes")
            held.take(len(piece))
            plain += piece
            await turns.yield_if_due()
    except zlib.error as error:
        raise bad_body("body", f"is not {coding}: {error}") from error
    held.give(len(body))
    return bytes(plain)


async def run_unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` returns; raises `ClientDisconnect` and cancels it when the client goes away.

    The whole body must have been read.
    """

    async def watch() -> None:
        while True:
            # After the end of the body, only the disconnect comes.
            await _next_chunk(receive)

    # No task group: it would wrap what `work` raises, and handlers are found by its class.
    task, gone = asyncio.ensure_future(work), asyncio.create_task(watch())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of a body and whether more follow. Raises `ClientDisconnect`."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


class Inlet:
    """A body read up to `ahead` bytes ahead of its reader, which bounds the memory.

    Only reading notices that a client goes away.
    """

    def __init__(self, receive: Receive, *, ahead: int) -> None:
        self._receive = receive
        self._ahead = ahead
        self._chunks: deque[bytes] = deque()
        self._pending = 0
        self._more = True
        self._changed = asyncio.Event()

    async def pump(self) -> None:
        """Read until `ClientDisconnect`; run it beside the reader, and cancel it at the end."""
        while True:
            chunk, more = await _next_chunk(self._receive)
            self._more = self._more and more
            if chunk:
                self._chunks.append(chunk)
                self._pending += len(chunk)
            self._notify()
            while self._pending >= self._ahead:
                await self._changed.wait()

    async def chunk(self) -> bytes | None:
        """The next piece, or None at the end of the body."""
        while not self._chunks:
            if not self._more:
                return None
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._pending -= len(chunk)
        self._notify()
        return chunk

    def _notify(self) -> None:
        self._changed.set()
        # A fresh event for the next change; waiters of the old one wake up.
        self._changed = asyncio.Event()


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
    """One validated and checked rollout. `InvalidRequest` names fields below `prefix`.

    Raises `TooLarge` where it has more values than a text of its size may have.
    """
    raw = bytes(raw)
    if BROKEN in raw:
        raise bad_body(prefix or "body", "holds half a surrogate pair, which is no Unicode text")
    try:
        # Pydantic's own values of JSON take as much again as Python's.
        for _ in refuse_bulky(raw, times=5):
            pass
        return read(raw, knobs)
    except Bulky as error:
        raise TooLarge(f"{prefix or 'the rollout'} {error}") from error
    except ValidationError as error:
        names = Rollout.model_fields
        raise InvalidRequest.of(to_details(error, prefix, names=names)) from error
    except InvalidRequest as error:
        # The check does not know the item: its fields get the prefix here.
        above = f"{prefix}." if prefix else ""
        raise InvalidRequest.of(
            [ProblemDetail(loc=above + each.loc, message=each.message) for each in error.details]
        ) from error


async def run_fairly(work: Callable[[], T], length: int, run: RunFairly[T]) -> T:
    """What `work` returns: on `length` bytes that would hold the event loop, off it."""
    return await run(work) if length > INLINE else work()


async def parse_batch(
    body: bytes,
    query: BatchOptions,
    limits: Settings,
    read: ReadRollout,
    admit: Callable[[int], None],
    *,
    run: RunFairly[Any],
) -> Batch:
    """One rollout, or `{"items": […]}` with options, told apart by `items`.

    Args:
        query: the options of the URL, weaker than those of the body.
        admit: called with the number of items as soon as it is known; raises to refuse them.
        run: `FairThreads.run` of this caller.

    Raises:
        InvalidRequest: naming item and field, before any item is judged.
        TooLarge: too many items, or one that is too long.
    """
    try:
        fields = _decode_fields(body)
    except InvalidRequest:
        # Half a surrogate pair ends the decoding wherever it stands. Marked, it fails its item.
        mark = partial(repair, body, half=BROKEN, nan=b"NaN")
        body = await run_fairly(mark, len(body), run)
        fields = _decode_fields(body)
    raw_items = fields.pop("items", None)
    if raw_items is None:
        _refuse_long(len(body), limits, "the rollout")
        parse = partial(parse_rollout, body, query, read)
        return Batch((await run_fairly(parse, len(body), run),), query, single=True)
    # The loop runs between the scans: each may take long, and only finds the boundaries.
    await asyncio.sleep(0)
    try:
        raws = split_list(raw_items, limits.max_items)
    except msgspec.ValidationError as error:
        raise bad_body("body", f"items: {error}") from error
    await asyncio.sleep(0)
    if raws is None:
        raise TooLarge(f"more items than max_items, {limits.max_items}")
    if not raws:
        raise bad_body("items", "must hold at least one rollout")
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
            parse = partial(parse_rollout, view, options, read, prefix)
            rollouts.append(await run_fairly(parse, view.nbytes, run))
        except InvalidRequest as error:
            problems += error.details
        await turns.yield_if_due()
    if problems:
        raise InvalidRequest.of(problems)
    return Batch(tuple(rollouts), options, single=False)


def _decode_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each left as raw bytes."""
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        raise bad_body("body", f"must be a rollout or a batch: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_body("body", f"is not JSON: {error}") from error
    except RecursionError as error:
        raise bad_body("body", "is nested too deeply") from error


def _refuse_long(length: int, limits: Settings, where: str) -> None:
    limit = limits.max_rollout_bytes
    if length > limit:
        raise TooLarge(f"{where} is {length} bytes, over max_rollout_bytes, {limit}")
