"""Reward services on real sockets: a scripted one, whose calls take one step each, and the real."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from citemark_rubrics import load_library
from citemark_schemas import (
    FormatReport,
    JudgeUsage,
    Knobs,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
    Versions,
)
from citemark_service.app import create_app
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.score.rollout import rollout_hash
from citemark_service.settings import Settings

Step = Callable[[dict[str, Any]], Response]


def scored(name: str, reward: float = 1.0, **more: Any) -> ScoreResult:
    """A result with nothing in it but its id, its reward and what else is given."""
    plain = ScoreResult(
        id=name,
        rollout_hash="",
        reward=reward,
        rubric_reward=None,
        citation=None,
        format=FormatReport(checks={}, bonus=1.0),
        judge=JudgeUsage(model="scripted"),
        knobs=Knobs(),
        versions=Versions(service="0", scoring="0", prompts="0", static_rubrics="none"),
    )
    return plain.model_copy(update=more)


def answering(body: dict[str, Any]) -> Response:
    """One result for each item, whose reward is the length of its response."""
    request = ScoreRequest.model_validate(body)
    items = tuple(
        scored(
            item.id or "",
            float(len(item.response)),
            rollout_hash=rollout_hash(item),
            knobs=Knobs.resolve(request, item),
        )
        for item in request.items
    )
    return Response(ScoreResponse(items=items).model_dump_json(), media_type="application/json")


def status(code: int, body: str = "", **headers: str) -> Step:
    """A step that answers with a status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Response(body, status_code=code, headers=named)


def dripping(request: dict[str, Any]) -> Response:
    """A step that sends one space after another and never comes to an end."""

    async def spaces() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.02)

    return StreamingResponse(spaces(), media_type="application/json")


@dataclass
class Service:
    """What the script says and what the client sent."""

    url: str
    steps: list[Step] = field(default_factory=list)
    """Taken one a call; `answering` when they are used up."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    delay_s: float = 0.0
    busy: int = 0
    busiest: int = 0

    async def answer(self, request: Request) -> Response:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            body = json.loads(await request.body())
            self.requests.append(body)
            self.headers.append(request.headers)
            step = self.steps.pop(0) if self.steps else answering
            await asyncio.sleep(self.delay_s)
            return step(body)
        finally:
            self.busy -= 1


def free_url() -> str:
    """The address of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def listening(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve `app` in a thread while the context lasts."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


@contextmanager
def scripted_service() -> Iterator[Service]:
    """A running scripted service."""
    listener = socket.create_server(("127.0.0.1", 0))
    service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = Starlette(routes=[Route("/v1/score", service.answer, methods=["POST"])])
    with listening(app, listener):
        yield service


@contextmanager
def embedded_service() -> Iterator[str]:
    """The URL of the real service with the embedded judge."""
    app = create_app(settings=Settings(), judge=EmbeddedJudge(), library=load_library())
    listener = socket.create_server(("127.0.0.1", 0))
    with listening(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
