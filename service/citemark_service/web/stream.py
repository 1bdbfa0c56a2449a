"""NDJSON both ways: each line is judged as it comes and answered as it finishes.

Memory is bounded by the window: while it is full no further line is read, which in turn stops
the client. A client must therefore read while it writes.
"""

import asyncio
from functools import partial

from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from citemark_schemas import Knobs, Rollout, ScoreResult, StreamLine
from citemark_service.errors import BodyTimeout, RequestError, ShuttingDown, TooLarge
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.body import Inlet
from citemark_service.web.intake import Turns, validated
from citemark_service.web.lines import Line, LineCutter
from citemark_service.web.problems import problem
from citemark_service.web.quota import Hold, Quota

_AHEAD = 256 * 1024
# The end of an answer whose request was not read to its end is held back for a moment.
_LINGER_S = 5.0
_LINE: TypeAdapter[StreamLine] = TypeAdapter(StreamLine)


class Outlet:
    """The response: its head, one line at a time from whoever has one, its end.

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

    async def result(self, number: int, result: ScoreResult) -> None:
        """Answer a line."""
        await self._line(StreamLine(line=number, type="result", result=result))

    async def error(self, number: int, error: RequestError) -> None:
        """Refuse a line."""
        await self._line(StreamLine(line=number, type="error", error=problem(error)))

    async def close(self) -> None:
        """End the body."""
        end: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._write(end, extra_s=_LINGER_S)

    async def _line(self, line: StreamLine) -> None:
        body = _LINE.dump_json(line) + b"\n"
        async with self._turn:
            await self._write({"type": "http.response.body", "body": body, "more_body": True})

    async def _write(self, message: Message, extra_s: float = 0.0) -> None:
        try:
            async with asyncio.timeout(self._timeout_s + extra_s):
                await self._send(message)
        except TimeoutError as error:
            raise ClientDisconnect from error


class ScoreStream:
    """One open stream: reads lines, keeps a window of them in flight, writes answers."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        knobs: Knobs,
        origin: Origin,
        settings: Settings,
        admission: Admission,
        outlet: Outlet,
        held: Hold,
    ) -> None:
        self._pipeline = pipeline
        self._knobs = knobs
        self._origin = origin
        self._settings = settings
        self._admission = admission
        self._outlet = outlet
        self._held = held
        self._lines = LineCutter(settings.max_rollout_bytes)
        self._window = Quota(settings.stream_window, "lines in flight")
        # As many bytes as a batch may have; a line that is allowed always fits.
        most = max(settings.max_body_bytes, settings.max_rollout_bytes)
        self._bytes = Quota(most, "bytes in flight")

    async def run(self, receive: Receive, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer every line; return when the last answer is written.

        Raises:
            ClientDisconnect: the client went away; all judging of its lines is cancelled.
        """
        inlet = Inlet(receive, ahead=_AHEAD)
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(inlet.pump())
                await asyncio.sleep(0)  # a client that expects 100 Continue gets it first
                await self._outlet.open(headers)
                async with asyncio.TaskGroup() as judging:
                    await self._read(inlet, judging)
                pump.cancel()
        except* ClientDisconnect:
            raise ClientDisconnect from None
        await self._outlet.close()

    async def _read(self, inlet: Inlet, judging: asyncio.TaskGroup) -> None:
        turns = Turns()  # refusing a line may never wait, and a chunk may hold thousands of them
        try:
            while (chunk := await self._chunk(inlet)) is not None:
                for line in self._lines.feed(chunk):
                    await self._take(line, judging)
                    await turns.yield_if_due()
        except BodyTimeout as error:
            await self._outlet.error(self._lines.number + 1, error)
            return
        for line in self._lines.end():
            await self._take(line, judging)

    async def _chunk(self, inlet: Inlet) -> bytes | None:
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

    async def _take(self, line: Line, judging: asyncio.TaskGroup) -> None:
        try:
            self._admission.require_open()
            rollout = self._rollout(line)
        except RequestError as error:
            await self._outlet.error(line.number, error)
            return
        size = len(line.text or b"")
        await self._window.wait(1)
        await self._bytes.wait(size)
        await self._held.wait(1)
        task = judging.create_task(self._answer(line.number, rollout))
        # A callback, because a task that is cancelled before it starts runs no `finally`.
        task.add_done_callback(partial(self._leave, size))
        await asyncio.sleep(0)

    def _rollout(self, line: Line) -> Rollout:
        if line.text is None:
            limit = self._settings.max_rollout_bytes
            raise TooLarge(f"the line is longer than max_rollout_bytes, {limit} bytes")
        return validated(line.text, self._knobs, self._pipeline.check)

    async def _answer(self, number: int, rollout: Rollout) -> None:
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
            await self._outlet.error(number, error)
        else:
            await self._outlet.result(number, result)

    def _leave(self, size: int, _: asyncio.Task[None]) -> None:
        self._window.give(1)
        self._bytes.give(size)
        self._held.give(1)
