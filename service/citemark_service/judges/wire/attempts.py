"""One HTTP call to a judge with its slot, its time limit and its bill.

Both clients send through this; they differ only in how bytes come back. Nothing is retried here.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from citemark_schemas import FailureKind
from citemark_service.errors import DeadlineExceeded, JudgeError, JudgeRejected, JudgeTimeout
from citemark_service.judges.chat import ChatReply
from citemark_service.judges.protocol import Meter, Usage
from citemark_service.judges.scheduling.line import Turn
from citemark_service.judges.scheduling.slots import Slots
from citemark_service.judges.wire.completion import MAX_REPLY_BYTES, decode_completion
from citemark_service.judges.wire.endpoint import Endpoint
from citemark_service.judges.wire.retry import seconds_left
from citemark_service.judges.wire.status import MESSAGE_LIMIT
from citemark_service.telemetry.lines import told
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Facts, Span, Tracer
from citemark_service.telemetry.trail import trail

Send = Callable[[], Awaitable[bytes]]
"""Sends one request; returns the body of a 200 or raises a `JudgeError` for anything else."""

CHECK_TIMEOUT_S: Final = 5.0

_log = logging.getLogger("citemark.judge")


class Attempts:
    """Bounds and accounts the calls to one server.

    Callers wait for a slot here and never in a connection pool. A slot is held for one HTTP
    call, not for the pause before a retry. One limit bounds a call from connecting to the last
    byte of the reply, so a reply that drips is cut like one that never comes.
    """

    def __init__(
        self,
        *,
        slots: Slots,
        timeout_s: float,
        metrics: Metrics,
        tracer: Tracer,
        endpoint: Endpoint,
    ) -> None:
        self.slots = slots
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._tracer = tracer
        self._endpoint = endpoint

    async def once(
        self, send: Send, *, turn: Turn, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """Send once, when it is this call's turn. Raises as `Chat.complete`, and `Displaced`."""
        await self._slot(turn, deadline)
        try:
            with self._tracer.span("judge call", "client") as span:
                return await self._accounted(send, meter, deadline, span)
        finally:
            self.slots.release()

    async def listing(self, send: Send) -> bytes:
        """Ask once for the list of models: no slot, no retry, a short limit."""
        return await _within(min(CHECK_TIMEOUT_S, self._timeout_s), send)

    async def _slot(self, turn: Turn, deadline: float | None) -> None:
        arrived = time.monotonic()
        try:
            with self._tracer.span("queue"):
                await self.slots.acquire(turn, deadline)
        finally:  # who waited in vain waited too
            self._metrics.stage("queue", time.monotonic() - arrived)

    async def _accounted(
        self, send: Send, meter: Meter, deadline: float | None, span: Span
    ) -> ChatReply:
        started = time.monotonic()
        bill = Meter()
        try:
            reply = await self._exchange(send, bill, deadline)
        except JudgeError as error:
            self._tell(error, time.monotonic() - started)
            self._ended(error.kind, started, bill, meter, span)
            raise
        self._ended(None, started, bill, meter, span)
        return reply

    async def _exchange(self, send: Send, bill: Meter, deadline: float | None) -> ChatReply:
        left = seconds_left(deadline)
        try:
            body = await _within(min(left, self._timeout_s), send)
        except JudgeTimeout as error:
            if left > self._timeout_s:
                raise
            raise DeadlineExceeded("the deadline passed during a judge call") from error
        completion = decode_completion(body)
        bill.add(completion.cost())  # before the content is looked at: it is paid for either way
        return completion.reply()

    def _ended(
        self, kind: FailureKind | None, started: float, bill: Meter, meter: Meter, span: Span
    ) -> None:
        meter.add(bill.usage)
        seconds = time.monotonic() - started
        self._metrics.judge_call(outcome=kind, seconds=seconds, usage=bill.usage)
        if span.recording:
            span.note(_facts(self._endpoint, kind, bill.usage))

    def _tell(self, error: JudgeError, seconds: float) -> None:
        server, kind = self._endpoint.place, error.kind.value
        facts: Facts = {"server": server, "kind": kind, "seconds": round(seconds, 3)}
        _log.info(
            "call to %s failed after %.2f s: %s: %s",
            server,
            seconds,
            kind,
            error,
            extra=told(facts),
        )


def _facts(endpoint: Endpoint, kind: FailureKind | None, usage: Usage) -> Facts:
    """What the span of an attempt says, under OpenTelemetry's names where it has any."""
    whose = {f"citemark.{name}": fact for name, fact in trail().items()}
    return {
        "citemark.attempt": 1,
        "citemark.ask": 1,
        **whose,
        "citemark.server": endpoint.place,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": endpoint.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "citemark.outcome": "ok" if kind is None else kind.value,
    }


async def _within(seconds: float, send: Send) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await send()
    except TimeoutError as error:
        raise JudgeTimeout(f"the judge did not answer within {seconds:g} s") from error


async def gathered(chunks: AsyncIterator[bytes], limit: int = MAX_REPLY_BYTES) -> bytes:
    """The chunks in one piece, read no further than the first chunk beyond `limit`."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return b"".join(parts)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


_MODELS: Final = msgspec.json.Decoder(_Models)


def verify_served(listing: bytes, model: str) -> None:
    """Return where `model` is in the list, or where the list is not OpenAI's.

    Raises:
        JudgeRejected: the server has other models; the message names them.
    """
    try:
        served = [each.id for each in _MODELS.decode(listing).data]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if model not in served:
        names = ", ".join(served)[:MESSAGE_LIMIT] or "no model"
        raise JudgeRejected(f"the judge serves {names}, not {model}")
