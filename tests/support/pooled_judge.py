"""A pool over scripted judges, for tests: quick to eject and quick to look again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.health import HealthPolicy
from citemark_service.judges.scheduling.pool import PoolChat
from citemark_service.judges.scheduling.priming import Priming
from citemark_service.judges.scheduling.server import Server, server_names
from citemark_service.judges.wire.client import WireChat
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.telemetry.metrics import Metrics
from support.scripted_judge import MODEL, ScriptedJudge

QUICK = HealthPolicy(failures=3, every_s=0.05, first_wait_s=0.01, max_wait_s=0.05, check_s=1.0)


def request(affinity: str = "", *, shared: int = 0, **fields: Any) -> ChatRequest:
    """A call of the group `affinity` whose user message says so."""
    messages = (Message("system", "Judge."), Message("user", f"group {affinity}, sample"))
    return ChatRequest(messages, None, 8, affinity=affinity, shared=shared, **fields)


def pool_of(
    urls: Sequence[str],
    *,
    metrics: Metrics | None = None,
    concurrency: int = 8,
    timeout_s: float = 5.0,
    attempts: int = 3,
    policy: HealthPolicy = QUICK,
    prime_wait_s: float | None = None,
) -> PoolChat:
    """A pool as the settings would build it; the caller closes it."""
    metrics = metrics or Metrics()
    retry = RetryPolicy(attempts=attempts, first_wait_s=0.001)

    def wire(url: str) -> WireChat:
        return WireChat(
            base_url=url,
            model=MODEL,
            api_key=None,
            constraint_style="structured_outputs",
            concurrency=concurrency,
            timeout_s=timeout_s,
            retry=retry,
            metrics=metrics,
        )

    return PoolChat(
        [
            Server(name, wire(url), policy=policy, metrics=metrics)
            for name, url in zip(server_names(urls), urls, strict=True)
        ],
        retry=retry,
        metrics=metrics,
        priming=None if prime_wait_s is None else Priming(wait_s=prime_wait_s, metrics=metrics),
    )


@asynccontextmanager
async def pooled(judges: Sequence[ScriptedJudge], **options: Any) -> AsyncIterator[PoolChat]:
    """`pool_of` the judges' URLs, closed in the end."""
    pool = pool_of([judge.url for judge in judges], **options)
    try:
        yield pool
    finally:
        await pool.aclose()


async def ask(
    pool: PoolChat, asked: ChatRequest, *, meter: Meter | None = None, deadline: float | None = None
) -> ChatReply:
    """One call."""
    return await pool.complete(asked, meter=meter or Meter(), deadline=deadline)
