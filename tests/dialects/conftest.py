"""The real service on a real socket before a scripted judge, and how trainers' clients post."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from support.running_service import Running, Start, begin
from support.scripted_judge import ScriptedJudge
from support.scripted_service import async_client_of, real_app


@dataclass
class Trainer:
    http: httpx.AsyncClient

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

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = (await self.http.get("/metrics")).text
        samples = re.findall(rf"^{re.escape(name)}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(float(value) for found, value in samples if all(w in found for w in wanted))

    async def until(self, name: str, value: float) -> None:
        async with asyncio.timeout(30):
            while await self.metric(name) != value:  # noqa: ASYNC110  told over HTTP
                await asyncio.sleep(0.02)


Serve = Callable[..., AbstractAsyncContextManager[Trainer]]


@pytest.fixture
def serve() -> Serve:
    @asynccontextmanager
    async def start(judge: ScriptedJudge, **settings: Any) -> AsyncIterator[Trainer]:
        fixed = {"judge_attempts": 1, "evidence_quotes": False}
        app = real_app(judge.settings(**{**fixed, **settings}))
        async with async_client_of(app) as http:
            yield Trainer(http)

    return start


@pytest.fixture(scope="module")
def gated() -> Iterator[Running]:
    """A service whose judge gives full marks, and fails where a question says so."""
    with begin() as running:
        yield running


@pytest.fixture
def briefly(start: Start) -> Running:
    return start(stop_grace_s=0.5)
