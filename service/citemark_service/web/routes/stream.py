"""`POST /v1/score/stream`: NDJSON both ways, in full duplex.

Each line is judged as it comes and answered as it finishes. Memory is bounded by the window: while
it is full no further line is read, which in turn stops the client. A client must therefore read
while it writes.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from citemark_schemas import Knobs, RequestOptions, Rollout, StreamLine
from citemark_service.errors import BodyTimeout, RequestError, ShuttingDown, TooLarge
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission, Hold, Quota
from citemark_service.web.bodies import Inlet
from citemark_service.web.intake import CallerName, Turns, parse_rollout, to_origin
from citemark_service.web.openapi import REFUSALS, STREAM_ANSWER, STREAM_BODY
from citemark_service.web.problems import to_problem

_AHEAD = 256 * 1024
# The end of an answer whose request was not read to its end is held back for a moment.
_LINGER_S = 5.0
_LINE: TypeAdapter[StreamLine] = TypeAdapter(StreamLine)


def stream_router(*, pipeline: Pipeline, settings: Settings, admission: Admission) -> APIRouter:
    """The route; its body is documented by hand because it is read as it comes."""
    router = APIRouter(tags=["score"])

    @router.post(
        "/v1/score/stream",
        operation_id="score_stream",
        summary="Score rollouts line by line",
        response_model=None,
        response_class=Response,
        responses={200: STREAM_ANSWER, **REFUSALS},
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
        return ScoreStream(
            pipeline=pipeline,
            settings=settings,
            admission=admission,
            knobs=options,
            origin=to_origin(request, caller, options),
        )

    return router


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """One line of the input that is not blank."""

    number: int
    """1-based; blank lines count."""
    text: bytes | None
    """Without its line break; None where it was longer than the limit and was dropped."""


class LineCutter:
    """Cuts chunks into lines and keeps at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self.number = 0
        """Lines finished so far."""
        self._limit = limit
        self._partial = bytearray()
        self._overlong = False

    def feed(self, chunk: bytes) -> Iterator[NumberedLine]:
        """The lines that `chunk` finishes; the iterator must be exhausted."""
        *endings, rest = chunk.split(b"\n")
        for ending in endings:
            self._append(ending)
            yield from self._finish()
        self._append(rest)

    def end(self) -> Iterator[NumberedLine]:
        """The last line, where it has no line break."""
        if self._partial or self._overlong:
            yield from self._finish()

    def _append(self, piece: bytes) -> None:
        if self._overlong or len(self._partial) + len(piece) > self._limit:
            self._overlong = True
            self._partial.clear()
        else:
            self._partial += piece

    def _finish(self) -> Iterator[NumberedLine]:
        self.number += 1
        text, overlong = bytes(self._partial), self._overlong
        self._partial.clear()
        self._overlong = False
        if overlong:
            yield NumberedLine(self.number, None)
        elif not text.isspace() and text:
            yield NumberedLine(self.number, text)


class Outlet:
    """The body of the response, a line at a time from whoever has one.

    Every write waits for a client that reads slowly, and raises `ClientDisconnect` for one that
    read nothing for `timeout_s`.
    """

    def __init__(self, send: Send, *, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()

    async def open(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers."""
        await self._write({"type": "http.response.start", "status": 200, "headers": headers})

    async def answer(self, line: StreamLine) -> None:
        """Send one line."""
        body = _LINE.dump_json(line) + b"\n"
        async with self._turn:
            await self._write({"type": "http.response.body", "body": body, "more_body": True})

    async def refuse(self, number: int, error: RequestError) -> None:
        """Send one line that says why the input line of that number is not judged."""
        await self.answer(StreamLine(line=number, type="error", error=to_problem(error)))

    async def close(self) -> None:
        """End the body."""
        end: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._write(end, extra_s=_LINGER_S)

    async def _write(self, message: Message, extra_s: float = 0.0) -> None:
        try:
            async with asyncio.timeout(self._timeout_s + extra_s):
                await self._send(message)
        except TimeoutError as error:
            raise ClientDisconnect from error


class ScoreStream(Response):
    """A response that reads its request while it is written, a window of lines at a time."""

    media_type = "application/x-ndjson"

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        settings: Settings,
        admission: Admission,
        knobs: Knobs,
        origin: Origin,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._pipeline = pipeline
        self._settings = settings
        self._admission = admission
        self._knobs = knobs
        self._origin = origin
        self._lines = LineCutter(settings.max_rollout_bytes)
        self._window = Quota(settings.stream_window, "lines in flight")
        # As many bytes as a batch may have; a line that is allowed always fits.
        most = max(settings.max_body_bytes, settings.max_rollout_bytes)
        self._bytes = Quota(most, "bytes in flight")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer every line; return when the last answer is written, or the client went away.

        Raises:
            RequestError: before the first byte, where no further stream may be opened.
        """
        del scope
        self._admission.require_open()
        with self._admission.streams.hold() as stream, self._admission.rollouts.hold() as held:
            stream.take()
            inlet = Inlet(receive, ahead=_AHEAD)
            outlet = Outlet(send, timeout_s=self._settings.stream_idle_s)
            with suppress(ClientDisconnect):
                await self._exchange(inlet, outlet, held)

    async def _exchange(self, inlet: Inlet, outlet: Outlet, held: Hold) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(inlet.pump())
                await asyncio.sleep(0)  # a client that expects 100 Continue gets it first
                await outlet.open(self.raw_headers)
                async with asyncio.TaskGroup() as judging:
                    await self._read(inlet, outlet, held, judging)
                pump.cancel()
        except* ClientDisconnect:
            raise ClientDisconnect from None
        await outlet.close()

    async def _read(
        self, inlet: Inlet, outlet: Outlet, held: Hold, judging: asyncio.TaskGroup
    ) -> None:
        turns = Turns()  # refusing a line may never wait, and a chunk may hold thousands of them
        try:
            while (chunk := await self._await_chunk(inlet)) is not None:
                for line in self._lines.feed(chunk):
                    await self._take(line, outlet, held, judging)
                    await turns.yield_if_due()
        except BodyTimeout as error:
            await outlet.refuse(self._lines.number + 1, error)
            return
        for line in self._lines.end():
            await self._take(line, outlet, held, judging)

    async def _await_chunk(self, inlet: Inlet) -> bytes | None:
        """The next piece; None at the end, or when a draining service has waited enough."""
        idle_s = self._settings.stream_idle_s
        while True:
            try:
                async with self._admission.patience(idle_s):
                    return await inlet.chunk()
            except TimeoutError as error:
                if not self._admission.draining:
                    raise BodyTimeout(f"no line came for {idle_s:g} s") from error
                if not self._window.held:
                    return None

    async def _take(
        self, line: NumberedLine, outlet: Outlet, held: Hold, judging: asyncio.TaskGroup
    ) -> None:
        """Start to judge a line as soon as there is room for it."""
        try:
            self._admission.require_open()
            if line.text is None:
                limit = self._settings.max_rollout_bytes
                raise TooLarge(f"the line is longer than max_rollout_bytes, {limit} bytes")
            rollout = parse_rollout(line.text, self._knobs, self._pipeline.check)
        except RequestError as error:
            await outlet.refuse(line.number, error)
            return
        size = len(line.text)
        await self._window.wait(1)
        await self._bytes.wait(size)
        await held.wait(1)
        task = judging.create_task(self._judge(line.number, rollout, outlet))
        # A callback, because a task that is cancelled before it starts runs no `finally`.
        task.add_done_callback(partial(self._leave, size, held))
        await asyncio.sleep(0)

    async def _judge(self, number: int, rollout: Rollout, outlet: Outlet) -> None:
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
            await outlet.refuse(number, error)
        else:
            await outlet.answer(StreamLine(line=number, type="result", result=result))

    def _leave(self, size: int, held: Hold, _: asyncio.Task[None]) -> None:
        self._window.give(1)
        self._bytes.give(size)
        held.give(1)
