"""`POST /v1/score`: a rollout or a batch; `POST /v1/score/stream`: NDJSON in full duplex.

The window of a stream bounds the memory: while it is full nothing is read, which stops the client.
A client must therefore read while it writes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from citemark_schemas import (
    BatchOptions,
    Knobs,
    RequestOptions,
    Rollout,
    ScoreResponse,
    ScoreResult,
    StreamLine,
)
from citemark_schemas.details import clip
from citemark_service.errors import (
    BodyTimeout,
    Overloaded,
    RequestError,
    ShuttingDown,
    TooLarge,
    UnknownCoding,
)
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.admission import Admission, Quota
from citemark_service.web.intake import (
    Batch,
    CallerName,
    Inlet,
    Turns,
    parse_batch,
    parse_rollout,
    read_body,
    run_fairly,
    run_unless_gone,
    to_origin,
)
from citemark_service.web.openapi import (
    REFUSALS,
    SCORE_ANSWER,
    SCORE_BODY,
    STREAM_ANSWER,
    STREAM_BODY,
)
from citemark_service.web.problems import to_problem

_RESULT: TypeAdapter[ScoreResult] = TypeAdapter(ScoreResult)


def score_router(pipeline: Pipeline, admission: Admission) -> APIRouter:
    router = APIRouter(tags=["score"])

    @router.post(
        "/v1/score",
        operation_id="score",
        summary="Score one rollout or a batch",
        response_model=None,
        responses={200: {"model": ScoreResult | ScoreResponse, **SCORE_ANSWER}, **REFUSALS},
        # By hand, because the body is read raw.
        openapi_extra=SCORE_BODY,
    )
    async def score(
        request: Request,
        options: Annotated[BatchOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        """Send one rollout, or `{"items": [rollout, …]}` with knobs for all of them.

        A knob counts where it is set most closely: in the rollout, beside `items`, in the URL,
        in the service's settings.

        One rollout is answered by one result, a batch by `{"items": [result, …]}` in the order
        sent. A judge that fails is no HTTP error: that item has `reward: null` and a `failure`.
        Malformed input refuses the whole request before anything is judged.
        """
        admission.require_open()
        with admission.rollouts.hold() as rollouts, admission.buffered.hold() as held:
            rollouts.take()  # at least one, so that a full service refuses before the upload
            body = await read_body(request, admission, held)
            limits, read = admission.settings, pipeline.read
            run = partial(pipeline.threads.run, to_origin(request, caller, options).caller)
            batch = await parse_batch(body, options, limits, read, rollouts.grow, run=run)
            # Again: the service may have begun to drain during the upload.
            admission.require_open()
            origin = to_origin(request, caller, batch.options)
            async with admission.work():
                work = score_batch(pipeline, batch, origin)
                answer = await run_unless_gone(request.receive, work)
        return Response(answer, media_type="application/json")

    return router


async def score_batch(pipeline: Pipeline, batch: Batch, origin: Origin) -> bytes:
    """JSON: a `ScoreResult` where the batch is single, else a `ScoreResponse` in item order."""
    wait_s = batch.options.deadline_s
    deadline = None if wait_s is None else time.monotonic() + wait_s

    async def score(position: int) -> bytes:
        result = await pipeline.score(
            batch.items[position],
            request=batch.options,
            position=position,
            deadline=deadline,
            origin=origin,
        )
        # Written at once: a thousand results kept as objects make the collector's pauses long.
        return _RESULT.dump_json(result)

    tasks: list[asyncio.Task[bytes]] = []
    async with asyncio.TaskGroup() as group:
        for position in range(len(batch.items)):
            tasks.append(group.create_task(score(position)))
            # One start a turn: a thousand tasks started at once would all run their parsing
            # before the loop looks at a socket again.
            await asyncio.sleep(0)
    results = [task.result() for task in tasks]
    return results[0] if batch.single else b'{"items":[' + b",".join(results) + b"]}"


RETRY_AFTER_S = 1.0
_AHEAD = 256 * 1024  # bytes read ahead of the lines being judged
# The envelope delays the end of an answer whose request was not read to its end.
_LINGER_S = 5.0
_LINE: TypeAdapter[StreamLine] = TypeAdapter(StreamLine)

NumberedLine = tuple[int, bytes | None]


def stream_router(pipeline: Pipeline, admission: Admission) -> APIRouter:
    router = APIRouter(tags=["score"])
    opened: Counter[str] = Counter()  # streams by caller

    @router.post(
        "/v1/score/stream",
        operation_id="score_stream",
        summary="Score rollouts line by line",
        response_model=None,
        response_class=Response,
        responses={200: STREAM_ANSWER, **REFUSALS},
        # By hand, because the body is read as it comes.
        openapi_extra=STREAM_BODY,
    )
    async def score_stream(
        request: Request,
        options: Annotated[RequestOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        """Send one rollout a line; each is answered by one line as it finishes, in any order.

        `line` in an answer is the 1-based number of the input line; blank lines count and are
        not answered. A malformed or overlong line is answered by an error line and hurts no
        other. Read while you write: the service stops reading while its window is full.
        """
        coding = request.headers.get("content-encoding", "identity")
        if coding.strip().lower() != "identity":
            raise UnknownCoding(f"Content-Encoding {clip(coding, 40)!r}: send lines uncompressed")
        origin = to_origin(request, caller, options)
        return ScoreStream(pipeline, admission, options, origin, opened)

    return router


class LineCutter:
    """Cuts chunks into lines, and keeps at most `limit` bytes of an unfinished one.

    Yields lines that are not blank as (number, text): numbers from 1, blank lines counted; the text
    without its line break, None where it was longer than the limit.
    """

    def __init__(self, limit: int) -> None:
        self.number = 0  # lines finished so far
        self._limit = limit
        self._partial: bytearray | None = bytearray()

    def feed(self, chunk: bytes) -> Iterator[NumberedLine]:
        """The lines that `chunk` finishes; the iterator must be exhausted."""
        *endings, rest = chunk.split(b"\n")
        for ending in endings:
            self._append(ending)
            yield from self.end()
        self._append(rest)

    def end(self) -> Iterator[NumberedLine]:
        """The line that ends here, unless it is blank."""
        self.number += 1
        text = self._partial
        self._partial = bytearray()
        if text is None or (text and not text.isspace()):
            yield self.number, None if text is None else bytes(text)

    def _append(self, piece: bytes) -> None:
        if self._partial is not None and len(self._partial) + len(piece) <= self._limit:
            self._partial += piece
        else:
            # Too long: None until the line ends, and its bytes are dropped.
            self._partial = None


class ScoreStream(Response):
    """A response that reads its request while it is written, a window of lines at a time."""

    media_type = "application/x-ndjson"

    def __init__(
        self,
        pipeline: Pipeline,
        admission: Admission,
        knobs: Knobs,
        origin: Origin,
        opened: Counter[str],
    ) -> None:
        super().__init__()
        settings = admission.settings
        # Set by `Response` for an empty body.
        del self.headers["content-length"]
        self._pipeline = pipeline
        self._admission = admission
        self._knobs = knobs
        self._origin = origin
        self._opened = opened
        self._idle_s = settings.stream_idle_s
        self._heard = time.monotonic()  # when the last line came
        self._longest = settings.max_rollout_bytes
        self._lines = LineCutter(self._longest)
        self._held = admission.rollouts.hold()
        self._window = Quota(settings.stream_window, "lines in flight")
        # As many bytes as a batch may have; a line that is allowed always fits.
        self._bytes = Quota(max(settings.max_body_bytes, self._longest), "bytes in flight")
        self._turn = asyncio.Lock()  # the tasks of many lines write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every line. Raises `RequestError`, before the first byte only."""
        del scope
        self._admission.require_open()
        self._send = send
        caller, streams = self._origin.caller, self._admission.streams
        own, free = self._opened[caller], streams.limit - streams.held
        # Each further one leaves as many to others, so that nobody holds all.
        if 0 < free <= own:
            message = f"this caller has {own} streams open, and {free} are left for all others"
            raise Overloaded(message, retry_after_s=RETRY_AFTER_S)
        with streams.hold() as stream, self._held, suppress(ClientDisconnect):
            stream.take()
            self._opened[caller] += 1
            try:
                await self._exchange(Inlet(receive, ahead=_AHEAD))
            finally:
                self._opened[caller] -= 1
                self._opened += Counter()  # drops the zeros

    async def _exchange(self, inlet: Inlet) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(inlet.pump())
                await asyncio.sleep(0)  # a client that expects 100 Continue gets it first
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                await self._write(start)
                async with asyncio.TaskGroup() as judging:
                    await self._read(inlet, judging)
                pump.cancel()
        except* ClientDisconnect:
            raise ClientDisconnect from None
        await self._write({"type": "http.response.body", "body": b""}, extra_s=_LINGER_S)

    async def _write(self, message: Message, extra_s: float = 0.0) -> None:
        try:
            async with asyncio.timeout(self._idle_s + extra_s):
                await self._send(message)
        except TimeoutError as error:
            # A client that has read nothing for so long counts as gone.
            raise ClientDisconnect from error

    async def _answer(self, line: StreamLine) -> None:
        body = _LINE.dump_json(line) + b"\n"
        async with self._turn:
            await self._write({"type": "http.response.body", "body": body, "more_body": True})

    async def _refuse(self, number: int, error: RequestError) -> None:
        await self._answer(StreamLine(line=number, type="error", error=to_problem(error)))

    async def _read(self, inlet: Inlet, judging: asyncio.TaskGroup) -> None:
        turns = Turns()  # refusing a line may never wait, and a chunk may hold thousands of them
        try:
            while (chunk := await self._await_chunk(inlet)) is not None:
                for number, text in self._lines.feed(chunk):
                    await self._take(number, text, judging)
                    await turns.yield_if_due()
                    self._heard = time.monotonic()
        except BodyTimeout as error:
            await self._refuse(self._lines.number + 1, error)
            return
        for number, text in self._lines.end():
            await self._take(number, text, judging)

    async def _await_chunk(self, inlet: Inlet) -> bytes | None:
        """The next piece; None at the end, or when a draining service has waited enough."""
        while True:
            # Since the last line that was not blank: bytes alone could come for ever.
            silent_s = 0.0 if self._admission.draining else time.monotonic() - self._heard
            try:
                async with self._admission.patience(self._idle_s - silent_s):
                    return await inlet.chunk()
            except TimeoutError as error:
                if not self._admission.draining:
                    raise BodyTimeout(f"no line came for {self._idle_s:g} s") from error
                # Lines in flight are still answered, so the client has to stay connected.
                if not self._window.held:
                    return None

    async def _take(self, number: int, text: bytes | None, judging: asyncio.TaskGroup) -> None:
        """Start to judge a line as soon as there is room for it."""
        try:
            self._admission.require_open()
            if text is None:
                raise TooLarge(f"the line is longer than max_rollout_bytes, {self._longest} bytes")
            run = partial(self._pipeline.threads.run, self._origin.caller)
            parse = partial(parse_rollout, text, self._knobs, self._pipeline.read)
            rollout = await run_fairly(parse, len(text), run)
        except RequestError as error:
            await self._refuse(number, error)
            return
        # These waits stop the reading, and with it the client.
        await self._window.wait(1)
        await self._bytes.wait(len(text))
        await self._held.wait(1)
        task = judging.create_task(self._judge(number, rollout))
        # A callback, because a task that is cancelled before it starts runs no `finally`.
        task.add_done_callback(partial(self._leave, len(text)))
        await asyncio.sleep(0)

    async def _judge(self, number: int, rollout: Rollout) -> None:
        try:
            async with self._admission.work():
                result = await self._pipeline.score(
                    rollout,
                    request=self._knobs,
                    position=number - 1,
                    deadline=None,
                    origin=self._origin,
                )
        except ShuttingDown as error:
            await self._refuse(number, error)
        else:
            await self._answer(StreamLine(line=number, type="result", result=result))

    def _leave(self, size: int, _: asyncio.Task[None]) -> None:
        self._window.give(1)
        self._bytes.give(size)
        self._held.give(1)
