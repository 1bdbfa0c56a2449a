"""Trainers' own protocols: one `POST` route for each `Route` of the table, and NeMo Gym's others.

Unlike `/v1/score`, these routes answer before a deadline of their own; they wait for room, since
their clients give up at a 429; and they go on judging when the client leaves, since it posts the
same again.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from citemark_schemas import RequestOptions, Rollout, ScoreResult
from citemark_service.errors import InvalidRequest, Overloaded, RequestError
from citemark_service.json_bodies import decode_object
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.threads import FairThreads
from citemark_service.trainers.engine import (
    RETRY_AFTER_S,
    RouteAnswer,
    RouteCounts,
    TrainerEngine,
)
from citemark_service.trainers.gym import aggregate_rows
from citemark_service.trainers.route import Route, RouteOptions, bad_body, settle_options
from citemark_service.trainers.table import served_routes
from citemark_service.web.admission import Admission, Hold
from citemark_service.web.intake import (
    CallerName,
    read_body,
    run_fairly,
    run_unless_gone,
    to_origin,
)
from citemark_service.web.openapi import REFUSALS, UNJUDGED, raw_body

_POLICIES = {
    "fallback": "the mean reward of its prompt's other rollouts, with `judge_failed` 1.0",
    "mask": "the same, marked to be left out",
    "null": "a null reward",
    "http": "503 for the whole request",
}

_log = logging.getLogger("citemark.dialects")

Work = asyncio.Task[RouteAnswer]


class Unclaimed:
    """Answers whose client left before they were ready, for the next equal request.

    Trainers time out and post the same bytes again, which are not judged anew, whatever the verdict
    cache keeps. Bounded by number and by bytes; the oldest goes first.
    """

    def __init__(self, *, entries: int = 4096, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._entries = entries
        self._max_bytes = max_bytes
        self._work: OrderedDict[bytes, Work] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._work)

    def leave(self, key: bytes, work: Work) -> None:
        """Keep the work until it is claimed; a failure is dropped."""
        self.claim(key)
        self._work[key] = work
        # Also called, soon, where the work is done already.
        work.add_done_callback(lambda _: self._land(key, work))
        self._shrink()

    def claim(self, key: bytes) -> Work | None:
        """Take out what was left under this key; it may still be running."""
        self._bytes -= self._sizes.pop(key, 0)
        return self._work.pop(key, None)

    def _land(self, key: bytes, work: Work) -> None:
        error = None if work.cancelled() else work.exception()
        if error is not None and not isinstance(error, RequestError):
            # Refusals need no line here, since the client posts again; defects do.
            _log.error("an answer that nobody waited for broke", exc_info=error)
        # Claimed or replaced in the meantime.
        if self._work.get(key) is not work:
            return
        if work.cancelled() or error is not None or not work.result().whole:
            del self._work[key]
            return
        self._sizes[key] = len(work.result().body)
        self._bytes += self._sizes[key]
        self._shrink()

    def _shrink(self) -> None:
        while self._work and (len(self._work) > self._entries or self._bytes > self._max_bytes):
            self.claim(next(iter(self._work)))


class TrainerEndpoint:
    """Answers the requests of all trainers' routes; one for the service."""

    def __init__(
        self, pipeline: Pipeline, admission: Admission, registry: CollectorRegistry
    ) -> None:
        settings = admission.settings
        self._pipeline = pipeline
        self._admission = admission
        self.routes = served_routes(settings)
        self._counts = RouteCounts(registry, self.routes)
        self._engine = TrainerEngine(
            settings=settings,
            check=pipeline.check,
            counts=self._counts,
            threads=pipeline.threads,
        )
        self._unclaimed = Unclaimed()
        self._running: set[Work] = set()

    async def answer(
        self, route: Route, request: Request, options: RouteOptions, caller: str | None
    ) -> bytes:
        """The response body. Raises `RequestError` and `ClientDisconnect`."""
        self._counts.requests[route.name].inc()
        self._admission.require_open()
        try:
            options = settle_options(route, options)
            deadline = time.monotonic() + (options.deadline_s or route.deadline_s)
            with ExitStack() as held:
                # A seat before the body: clients that wait for room take no memory.
                seats = held.enter_context(self._admission.rollouts.hold())
                if not await _take_seat(seats, deadline):
                    raise Overloaded(
                        "no room for this rollout before its deadline", retry_after_s=RETRY_AFTER_S
                    )
                buffered = held.enter_context(self._admission.buffered.hold())
                body = await read_body(request, self._admission, buffered)
                origin = to_origin(request, caller, options)
                self._admission.require_open()

                async def score(rollout: Rollout, position: int) -> ScoreResult:
                    # The first has the request's own seat.
                    seated = not position or await _take_seat(seats, deadline)
                    try:
                        # Without a seat the deadline has passed, and the pipeline answers so.
                        return await self._pipeline.score(
                            rollout,
                            request=options,
                            position=position,
                            deadline=deadline,
                            origin=origin,
                        )
                    finally:
                        seats.give(int(seated))

                async def judge() -> RouteAnswer:
                    async with self._admission.work():
                        return await self._engine.answer(
                            route, body, options, deadline, score, caller=origin.caller
                        )

                make_key = partial(_key_of, route, request, origin, body)
                run = partial(self._pipeline.threads.run, origin.caller)
                key = await run_fairly(make_key, len(body), run)
                return await self._deliver(route, key, judge, held, request)
        except InvalidRequest as error:
            # These clients hide the answer's body, so the log says what is wrong.
            _log.warning("%s: bad request: %r", route.path, str(error))
            self._counts.bad_requests[route.name].inc()
            raise

    async def _deliver(
        self,
        route: Route,
        key: bytes,
        judge: Callable[[], Coroutine[Any, Any, RouteAnswer]],
        held: ExitStack,
        request: Request,
    ) -> bytes:
        """What an equal request left behind, else what `judge` returns."""
        left = self._unclaimed.claim(key)
        if left is not None:
            # A refusal, or an answer with failed rollouts, is judged again.
            with suppress(RequestError):
                answer = await self._await_work(left, key, request)
                if answer.whole:
                    self._counts.reposts[route.name].inc()
                    return answer.body
        work = asyncio.get_running_loop().create_task(judge())
        self._running.add(work)  # the loop itself holds tasks weakly
        work.add_done_callback(self._running.discard)
        # A callback, because a task that is cancelled before it starts runs no `finally`.
        # The work outlives a client that leaves, and keeps its seats and bytes.
        owned = held.pop_all()
        work.add_done_callback(lambda _: owned.close())
        return (await self._await_work(work, key, request)).body

    async def _await_work(self, work: Work, key: bytes, request: Request) -> RouteAnswer:
        """The answer of the work, which is left as unclaimed where the client goes away."""
        try:
            return await run_unless_gone(request.receive, asyncio.shield(work))
        except ClientDisconnect:
            self._unclaimed.leave(key, work)
            raise


async def _take_seat(seats: Hold, deadline: float) -> bool:
    """Wait for room for one more rollout; False where the deadline came first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline - time.monotonic()):
            await seats.wait()
            return True
    return False


def _key_of(route: Route, request: Request, origin: Origin, body: bytes) -> bytes:
    """A hash of all that decides the answer: the same only for a re-post of the same bytes."""
    state = hashlib.blake2b(digest_size=32)
    for part in (route.name.encode(), request.url.query.encode(), origin.caller.encode(), body):
        # Lengths first, so that bytes cannot move from one part to the next.
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def trainer_router(endpoint: TrainerEndpoint) -> APIRouter:
    router = APIRouter(tags=["trainers"])
    for route in endpoint.routes:
        _add_route(router, endpoint, route)
    return router


def _add_route(router: APIRouter, endpoint: TrainerEndpoint, route: Route) -> None:
    async def answer(
        request: Request,
        options: Annotated[RouteOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        body = await endpoint.answer(route, request, options, caller)
        return Response(body, media_type="application/json")

    choices = "; ".join(
        f"`{name}`{' (default)' if name == route.on_error else ''}: {text}"
        for name, text in _POLICIES.items()
        if name in route.permits
    )
    answered = {
        "description": f"As {route.client} reads it.",
        "content": {"application/json": {"example": route.example}},
    }
    router.add_api_route(
        route.path,
        answer,
        methods=["POST"],
        operation_id=route.name,
        summary=f"Reward rollouts for {route.client}",
        description=f"{route.doc}\n\nAnswers within {route.deadline_s:g} s, or `?deadline_s=`. A "
        f"rollout whose judge failed becomes, by `?on_error=`: {choices}. Posting the same again "
        "while it is judged, or after the client gave up, costs no second judgement.",
        response_model=None,
        responses={200: answered, **UNJUDGED},
        openapi_extra=raw_body(
            {"type": "object", "additionalProperties": True}, example=dict(route.request)
        ),
    )


class Seeded(BaseModel, frozen=True):
    """A session begins; there is nothing to tell, since none is kept."""


class AggregateMetrics(BaseModel, frozen=True, use_attribute_docstrings=True):
    """Gym's own shape; keys are statistics of numbers, as `mean/reward`."""

    group_level_metrics: tuple[dict[str, float], ...]
    """One for each `_ng_task_index`."""
    agent_metrics: dict[str, float]
    """Over all rows."""
    key_metrics: dict[str, float]
    """The means among them."""


_ROWS = raw_body(
    {
        "type": "object",
        "required": ["verify_responses"],
        "properties": {"verify_responses": {"type": "array", "items": {"type": "object"}}},
    },
    example={"verify_responses": [{"_ng_task_index": 0, "reward": 0.5}]},
)


def gym_router(admission: Admission, threads: FairThreads) -> APIRouter:
    router = APIRouter(tags=["trainers"])

    @router.post("/strict/seed_session", include_in_schema=False)
    @router.post("/seed_session", operation_id="seed_session", summary="NeMo Gym: begin a session")
    async def seed_session() -> Seeded:
        """Rows are judged by themselves, so that a session needs nothing; any body will do."""
        return Seeded()

    @router.get(
        "/reverify_mode", operation_id="reverify_mode", summary="NeMo Gym: may rows be judged again"
    )
    async def reverify_mode() -> Literal["stateless"]:
        """`/verify` may be asked again at any time, for any row."""
        return "stateless"

    @router.post(
        "/aggregate_metrics",
        operation_id="aggregate_metrics",
        summary="NeMo Gym: statistics of verified rows",
        response_model=None,
        responses={200: {"model": AggregateMetrics}, **REFUSALS},
        openapi_extra=_ROWS,
    )
    async def aggregate_metrics(request: Request, caller: CallerName = None) -> Response:
        """Mean, max, min, median and standard deviation of every number, masked rows left out."""
        admission.require_open()
        with admission.buffered.hold() as held:
            body = await read_body(request, admission, held)
            # The rows of a whole run would hold the event loop.
            name = to_origin(request, caller, RequestOptions()).caller
            rows = await threads.run(name, partial(_aggregate, body))
            return Response(rows, media_type="application/json")

    return router


def _aggregate(body: bytes) -> bytes:
    rows = decode_object(body).get("verify_responses")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise bad_body("verify_responses", "must be a list of objects")
    return msgspec.json.encode(aggregate_rows(rows))
