"""The real service on a real socket before a scripted judge, and how trainers' clients post."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.store import LedgerStore
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.factory import cache_verdicts
from support.running_service import Running, begin
from support.scripted_judge import MODEL, ScriptedJudge
from support.scripted_service import listening


@contextmanager
def serving(
    judge: ScriptedJudge, *, store: LedgerStore | None = None, **settings: Any
) -> Iterator[str]:
    """The URL of a service in a thread that asks `judge`, and keeps its results in `store`."""
    asked = {"judge": "vllm", "judge_url": judge.url, "judge_model": MODEL, "judge_attempts": 1}
    fixed = {"evidence_quotes": False, "nonce_secret": "one for all services"}
    table = Settings.model_validate({**asked, **fixed, **settings})
    metrics = Metrics()
    built = cache_verdicts(build_judge(table, metrics), table, metrics)
    ledger = None if store is None else Ledger(store, metrics=metrics, wait_s=5.0, room=10**9)
    app = create_app(settings=table, judge=built, metrics=metrics, ledger=ledger)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    with listening(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Trainer:
    """Posts as trainers do; every call is a connection of its own where `keep` is False."""

    http: httpx.AsyncClient

    async def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Send bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=content, **options)

    async def told(self, path: str, body: Any) -> Any:
        """The answer's JSON; any status but 200 is a failure of the test."""
        response = await self.post(path, body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return response.json()

    async def gives_up(self, path: str, body: Any, when: Awaitable[None]) -> None:
        """Post, and close the connection once `when` is over, which is before the answer."""
        posting = asyncio.ensure_future(self._alone(path, body))
        try:
            await when
            assert not posting.done(), "answered before the client could give up"
        finally:
            posting.cancel()
            await asyncio.wait([posting])

    async def _alone(self, path: str, body: Any) -> None:
        async with httpx.AsyncClient(base_url=self.http.base_url, trust_env=False) as impatient:
            await impatient.post(path, content=json.dumps(body), timeout=60.0)

    async def truth(self, rollouts: list[dict[str, Any]]) -> list[float]:
        """The rewards that `/v1/score` gives, all of which it has."""
        items = (await self.told("/v1/score", {"items": rollouts}))["items"]
        assert all(item["failure"] is None for item in items)
        return [item["reward"] for item in items]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = (await self.http.get("/metrics")).text
        samples = re.findall(rf"^{re.escape(name)}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for found, value in samples if all(w in found for w in wanted))

    async def until(self, name: str, value: float) -> None:
        """Wait until a metric has this value."""
        async with asyncio.timeout(20):
            while await self.metric(name) != value:  # noqa: ASYNC110  told over HTTP
                await asyncio.sleep(0.02)


Serve = Callable[..., AbstractAsyncContextManager[Trainer]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(judge, **settings) as trainer`: a service, and a client of it."""

    @asynccontextmanager
    async def started(judge: ScriptedJudge, **settings: Any) -> AsyncIterator[Trainer]:
        with serving(judge, **settings) as url:
            # Less than the server keeps a connection, which would be closed as it is used again.
            limits = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
            async with httpx.AsyncClient(
                base_url=url, timeout=60.0, trust_env=False, limits=limits
            ) as http:
                yield Trainer(http)

    return started


@pytest.fixture(scope="module")
def gated() -> Iterator[Running]:
    """A service whose judge gives full marks, and fails where a question says so."""
    running = begin()
    yield running
    running.stop()


@pytest.fixture
def briefly() -> Iterator[Running]:
    """A service with the gated judge that waits half a second when it stops."""
    running = begin(stop_grace_s=0.5)
    yield running
    running.stop()
