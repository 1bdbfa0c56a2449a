"""The real service on a real socket, in front of scripted judges."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.scripted_judge import MODEL, ScriptedJudge
from support.scripted_service import listening


@dataclass
class Service:
    """A running service: a client of it, and its own count of things."""

    client: httpx.AsyncClient
    metrics: Metrics

    def value(self, name: str, **labels: str) -> float:
        """A sample of one of the service's metrics, 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(f"citemark_{name}", labels) or 0.0

    def load(self, name: str) -> float:
        """The sum of a gauge over all servers."""
        return sum(
            self.value(f"judge_server_{name}", server=server) for server in self.metrics.servers_up
        )


Serve = Callable[..., Awaitable[Service]]
"""`await serve([judge], max_inflight=3)`: a service with those settings before those judges."""


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """See `Serve`; what was started is stopped with the test."""
    async with AsyncExitStack() as stack:

        async def started(judges: Sequence[ScriptedJudge], **settings: Any) -> Service:
            urls = tuple(judge.url for judge in judges)
            given = {"judge": "vllm", "judge_model": MODEL, "judge_urls": urls, **settings}
            table, metrics = Settings(**given), Metrics()
            judge = build_judge(table, metrics)
            app = create_app(settings=table, judge=judge, metrics=metrics)
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            stack.enter_context(listening(app, listener))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            limits = httpx.Limits(max_connections=None)
            client = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits)
            return Service(await stack.enter_async_context(client), metrics)

        yield started
