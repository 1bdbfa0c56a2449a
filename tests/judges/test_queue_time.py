"""How long calls wait for a slot is told, whether they get one or not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from citemark_service.errors import DeadlineExceeded
from citemark_service.judges.chat import ChatRequest, Message
from citemark_service.judges.protocol import Meter
from citemark_service.judges.wire.client import WireChat
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.telemetry.metrics import Metrics
from support.scripted_judge import MODEL, Reply, Script, ScriptedJudge, always

REQUEST = ChatRequest((Message("user", "Judge."),), None, 8)
BUSY_S = 0.3


def waits(metrics: Metrics) -> tuple[float, float]:
    """How many were told, and their sum in seconds."""
    names = ("citemark_stage_seconds_count", "citemark_stage_seconds_sum")
    count, seconds = (metrics.registry.get_sample_value(name, {"stage": "queue"}) for name in names)
    assert count is not None
    assert seconds is not None
    return count, seconds


@asynccontextmanager
async def one_slot(judge: ScriptedJudge, metrics: Metrics) -> AsyncIterator[WireChat]:
    """A client that sends one call at a time."""
    chat = WireChat(
        base_url=judge.url,
        model=MODEL,
        api_key=None,
        constraint_style="structured_outputs",
        concurrency=1,
        timeout_s=5.0,
        retry=RetryPolicy(attempts=1),
        metrics=metrics,
    )
    try:
        yield chat
    finally:
        await chat.aclose()


async def test_calls_tell_how_long_they_waited(
    start_judge: Callable[[Script], Awaitable[ScriptedJudge]],
) -> None:
    judge, metrics = await start_judge(always(Reply("1", delay_s=BUSY_S))), Metrics()
    async with one_slot(judge, metrics) as chat:
        calls = [chat.complete(REQUEST, meter=Meter(), deadline=None) for _ in range(3)]
        await asyncio.gather(*calls)
    count, seconds = waits(metrics)
    assert count == 3
    assert seconds > (0 + 1 + 2) * BUSY_S * 0.9


async def test_a_call_that_never_gets_a_slot_waits_too(
    start_judge: Callable[[Script], Awaitable[ScriptedJudge]],
) -> None:
    judge, metrics = await start_judge(always(Reply("1", delay_s=4 * BUSY_S))), Metrics()
    async with one_slot(judge, metrics) as chat:
        first = asyncio.create_task(chat.complete(REQUEST, meter=Meter(), deadline=None))
        await judge.until(lambda: judge.calls == 1)
        with pytest.raises(DeadlineExceeded):
            await chat.complete(REQUEST, meter=Meter(), deadline=time.monotonic() + BUSY_S)
        count, seconds = waits(metrics)
        await first
    assert count == 2
    assert seconds > BUSY_S * 0.9
