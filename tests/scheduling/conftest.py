"""The real service on a real socket, in front of scripted judges."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from citemark_service.judges.factory import build_judge
from citemark_service.telemetry.metrics import Metrics
from support.scripted_service import async_client_of, real_app


@dataclass
class Service:
    client: httpx.AsyncClient
    metrics: Metrics

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"citemark_{name}", labels) or 0.0

    def load(self, name: str) -> float:
        servers = self.metrics.servers_up
        return sum(self.value(f"judge_server_{name}", server=server) for server in servers)


@pytest.fixture
async def serve():
    """`await serve([judge], max_inflight=3)`: a service with those settings before those judges."""
    async with AsyncExitStack() as stack:

        async def enter(judges, **settings):
            given = {"evidence_quotes": False, "nonce_secret": "s", **settings}
            urls = tuple(judge.url for judge in judges)
            table, metrics = judges[0].settings(judge_urls=urls, **given), Metrics()
            app = real_app(table, metrics, judge=build_judge(table, metrics))
            return Service(await stack.enter_async_context(async_client_of(app)), metrics)

        yield enter
