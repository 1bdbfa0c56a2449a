"""The real service on a real socket before a scripted judge, and how trainers' clients post."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from support.judged_service import asked_service
from support.readable_metrics import ReadableMetrics
from support.running_service import Running, Start, begin
from support.scripted_judge import ScriptedJudge
from support.waiting import until


@dataclass
class Trainer:
    http: httpx.AsyncClient
    metrics: ReadableMetrics

    async def post(self, path: str, body: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=content)

    async def told(self, path: str, body: Any) -> Any:
        """The answer's JSON; any status but 200 is a failure of the test."""
        response = await self.post(path, body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return response.json()

    async def gives_up(self, path: str, body: Any, when: Awaitable[None]) -> None:
        """Post, and close the connection once `when` is over, which is before the answer."""
        async with httpx.AsyncClient(
            base_url=self.http.base_url, trust_env=False, timeout=60.0
        ) as impatient:
            posting = asyncio.ensure_future(impatient.post(path, content=json.dumps(body)))
            try:
                await when
                assert not posting.done(), "answered before the client could give up"
            finally:
                posting.cancel()
                await asyncio.wait([posting])

    async def until(self, name: str, value: float) -> None:
        await until(lambda: self.metrics.total(name) == value)


Serve = Callable[..., AbstractAsyncContextManager[Trainer]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def start(judge: ScriptedJudge, **settings: Any) -> AsyncIterator[Trainer]:
        metrics = ReadableMetrics()
        given = {"judge_attempts": 1, **settings}
        async with asked_service(judge, metrics=metrics, **given) as http:
            yield Trainer(http, metrics)

    return start


@pytest.fixture(scope="module")
def gated() -> Iterator[Running]:
    """A service whose judge gives full marks, and fails where a question says so."""
    with begin() as running:
        yield running


@pytest.fixture
def briefly(start: Start) -> Running:
    return start(stop_grace_s=0.5)
