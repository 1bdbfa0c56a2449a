"""A pool over scripted judges, for tests: quick to retry, to eject and to look again."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.trace import NoOpTracer

from citemark_service.judges.chat import ChatReply, ChatRequest, ConstraintStyle, Message
from citemark_service.judges.server.client import HttpTransport
from citemark_service.judges.server.hosted import HostedTransport
from citemark_service.judges.server.pool import JudgePool, RetryPolicy
from citemark_service.judges.server.server import Endpoint, ServerLimits, Transport
from citemark_service.judges.tasks import Meter
from citemark_service.telemetry.metrics import Metrics
from support.scripted_judge import MODEL, ScriptedJudge

QUICK = {"look_every_s": 0.05, "first_look_s": 0.01, "max_look_s": 0.05}
NEVER = dict.fromkeys(QUICK, 60.0)
"""No look after the first one."""


def request(affinity: str = "", *, shared: int = 0, **fields: Any) -> ChatRequest:
    """A call of the group `affinity` whose user message says so."""
    messages = (Message("system", "Judge."), Message("user", f"group {affinity}, sample"))
    return ChatRequest(messages, None, 8, affinity=affinity, shared=shared, **fields)


def pool_of(
    urls: Sequence[str],
    *,
    hosted: bool = False,
    api_key: str | None = None,
    style: ConstraintStyle = "structured_outputs",
    priorities: bool = False,
    metrics: Metrics | None = None,
    concurrency: int = 8,
    timeout_s: float = 5.0,
    attempts: int = 3,
    looks: Mapping[str, Any] = QUICK,
    prime_wait_s: float | None = None,
    trust_env: bool = False,
) -> JudgePool:
    """A pool as the settings would build it; the caller closes it."""

    def connect(url: str) -> Transport:
        endpoint = Endpoint(url, MODEL, api_key)
        if hosted:
            return HostedTransport(endpoint, connections=concurrency, trust_env=trust_env)
        return HttpTransport(endpoint, style=style, priorities=priorities, trust_env=trust_env)

    return JudgePool(
        [connect(url) for url in urls],
        limits=ServerLimits(concurrency, timeout_s, **looks),
        retry=RetryPolicy(attempts=attempts, first_wait_s=0.001),
        metrics=metrics or Metrics(),
        tracer=NoOpTracer(),
        prime_wait_s=prime_wait_s,
    )


@asynccontextmanager
async def pooled(judges: Sequence[ScriptedJudge], **options: Any) -> AsyncIterator[JudgePool]:
    """`pool_of` the judges' URLs, closed in the end."""
    pool = pool_of([judge.url for judge in judges], **options)
    try:
        yield pool
    finally:
        await pool.aclose()


async def ask(
    pool: JudgePool, asked: ChatRequest, meter: Meter | None = None, deadline: float | None = None
) -> ChatReply:
    return await pool.complete(asked, meter=meter or Meter(), deadline=deadline)
