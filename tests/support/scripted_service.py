"""Reward services on real sockets: a scripted one, whose calls take one step each, and the real."""

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import uvicorn
from opentelemetry.trace import NoOpTracer, Tracer
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from citemark_schemas import (
    Failure,
    FailureKind,
    FormatReport,
    JudgeUsage,
    Knobs,
    ScoreRequest,
    ScoreResponse,
    ScoreResult,
    Versions,
)
from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.judges.tasks import Judge
from citemark_service.score.rollout import rollout_hash
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import cache_verdicts
from citemark_service.web.openapi import Citemark

Step = Callable[[dict[str, Any]], Response]


def scored(name: str, reward: float | None = 1.0, **more: Any) -> ScoreResult:
    """A result with nothing in it but its id, its reward and what else is given."""
    plain = ScoreResult(
        id=name,
        rollout_hash="",
        reward=1.0,
        rubric_reward=None,
        citation=None,
        format=FormatReport(checks={}, bonus=1.0),
        judge=JudgeUsage(model="scripted"),
        knobs=Knobs(),
        versions=Versions(service="0", scoring="0", prompts="0", static_rubrics="none"),
    )
    return plain.model_copy(update={"reward": reward, **more})


def answering(body: dict[str, Any], failures: Mapping[int, Failure] = {}, **more: Any) -> Response:
    """One result for each item: a failure at these places, else its response's length as reward."""
    request = ScoreRequest.model_validate(body)
    items = tuple(
        scored(
            item.id or "",
            None if at in failures else float(len(item.response)),
            failure=failures.get(at),
            rollout_hash=rollout_hash(item),
            knobs=Knobs.resolve(request, item),
            **more,
        )
        for at, item in enumerate(request.items)
    )
    return Response(ScoreResponse(items=items).model_dump_json(), media_type="application/json")


def failing(kind: FailureKind, *places: int) -> Step:
    """A step with a failure for the items at these places."""
    failure = Failure(kind=kind, message="said so", retryable=True)
    return partial(answering, failures=dict.fromkeys(places, failure))


def status(code: int, body: str = "", **headers: str) -> Step:
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

    url: str = ""
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
    """The address of a port on which nothing listens.

    Below the range that systems give to outgoing connections: one of those, of any test beside,
    could otherwise take the port before its server starts.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)  # Hypothesis seeds the module `random`
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return f"http://127.0.0.1:{port}"


@contextmanager
def listening(app: ASGIApp, listener: socket.socket | None = None) -> Iterator[str]:
    """The URL of `app`, which a thread serves while the context lasts."""
    listener = listener or socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()
    assert not thread.is_alive()


@contextmanager
def scripted_service(listener: socket.socket | None = None) -> Iterator[Service]:
    service = Service()
    app = Starlette(routes=[Route("/v1/score", service.answer, methods=["POST"])])
    with listening(app, listener) as service.url:
        yield service


def real_app(
    settings: Settings,
    metrics: Metrics | None = None,
    tracer: Tracer = NoOpTracer(),
    judge: Judge | None = None,
    **parts: Any,
) -> Citemark:
    """The service as `citemark serve` builds it, or with `judge`; `parts` go to `create_app`."""
    metrics = metrics or Metrics()
    return create_app(
        settings=settings,
        judge=judge or cache_verdicts(build_judge(settings, metrics, tracer), settings, metrics),
        metrics=metrics,
        tracer=tracer,
        **parts,
    )


@contextmanager
def client_of(app: ASGIApp, *, patience_s: float = 60.0) -> Iterator[httpx.Client]:
    """A client of `app`, which listens on a real socket; its `base_url` ends in the port."""
    with (
        listening(app) as url,
        httpx.Client(base_url=url, timeout=patience_s, trust_env=False) as client,
    ):
        yield client


@asynccontextmanager
async def async_client_of(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """The same, with as many connections as there are calls."""
    # Less than the server keeps a connection, which would be closed as it is used again.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    with listening(app) as url:
        async with httpx.AsyncClient(
            base_url=url, timeout=60.0, trust_env=False, limits=limits
        ) as client:
            yield client
