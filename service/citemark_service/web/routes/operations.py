"""Routes about the service: `/`, `/v1/rubrics`, `/healthz`, `/readyz` and `/metrics`."""

import asyncio
import time

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from citemark_rubrics import RubricLibrary
from citemark_schemas import Criterion, Problem
from citemark_service.errors import JudgeError, JudgeTimeout
from citemark_service.judges.tasks import Judge
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.admission import Admission
from citemark_service.web.openapi import UNREADY
from citemark_service.web.problems import to_response

_CHECK_TIMEOUT_S = 5.0
_CHECK_KEPT_S = 2.0


class Alive(BaseModel, frozen=True, use_attribute_docstrings=True):
    """The process answers."""

    status: str = "ok"
    """Always `ok`."""


class Ready(BaseModel, frozen=True, use_attribute_docstrings=True):
    """Rollouts can be judged."""

    status: str = "ready"
    """Always `ready`; else the answer is 503."""
    down: tuple[str, ...] = ()
    """Servers of the judge that get no calls at the moment, by host and port."""


class RubricSetView(BaseModel, frozen=True, use_attribute_docstrings=True):
    """One static set as `static_rubrics` names it."""

    name: str
    """What the knob `static_rubrics` calls it."""
    version: str
    """Hash of the criteria; equal versions judge alike."""
    description: str
    """For people."""
    criteria: tuple[Criterion, ...]
    """In the order in which they are judged."""


class RubricList(BaseModel, frozen=True, use_attribute_docstrings=True):
    """All static sets, by name."""

    sets: tuple[RubricSetView, ...]
    """Sorted by name."""


class Index(BaseModel, frozen=True, use_attribute_docstrings=True):
    """Where things are."""

    service: str = "citemark"
    """Always `citemark`."""
    version: str
    """Of the package."""
    judge: str
    """The name of the judge's model."""
    score: str = "/v1/score"
    """Where rollouts are posted."""
    stream: str = "/v1/score/stream"
    """Where endless ones are."""
    rubrics: str = "/v1/rubrics"
    """Where the static sets are listed."""
    docs: str = "/docs"
    """Where this API is shown."""


def health_router(admission: Admission, judge: Judge, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["operations"])
    check: asyncio.Task[JudgeError | None] | None = None
    fresh_until = 0.0

    async def check_judge() -> JudgeError | None:
        nonlocal fresh_until
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await judge.check()
        except TimeoutError:
            return JudgeTimeout(f"the judge did not answer within {_CHECK_TIMEOUT_S:g} s")
        except JudgeError as error:
            return error
        finally:
            fresh_until = time.monotonic() + _CHECK_KEPT_S
        return None

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", operation_id="healthz", summary="Whether the process is alive")
    async def healthz() -> Alive:
        """200 for as long as anything is answered, while stopping too."""
        return Alive()

    @router.head("/readyz", response_model=Ready, include_in_schema=False)
    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether rollouts can be judged",
        response_model=Ready,
        responses=UNREADY,
    )
    async def readyz() -> Ready | Response:
        """200 where a server of the judge can be reached; asked every two seconds at most."""
        nonlocal check
        admission.require_open()
        if check is None or (check.done() and time.monotonic() > fresh_until):
            check = asyncio.create_task(check_judge())
        # Shielded: one caller that leaves must not cancel the check of the others.
        failure = await asyncio.shield(check)
        if failure is None:
            return Ready(down=tuple(name for name, up in metrics.servers_up.items() if not up()))
        message = f"{judge.identity.model}: {failure}"
        return to_response(503, Problem(error=failure.kind.value, message=message))

    @router.get(
        "/metrics",
        operation_id="metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def exposition(request: Request) -> Response:
        """Text or OpenMetrics, as `Accept` prefers."""
        body, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    return router


def about_router(library: RubricLibrary, judge: Judge, *, version: str) -> APIRouter:
    router = APIRouter(tags=["about"])
    views = tuple(
        RubricSetView.model_validate(each, from_attributes=True) for each in library.sets()
    )

    @router.get("/", operation_id="index", summary="Where things are")
    async def index() -> Index:
        """The routes, and which judge answers."""
        return Index(version=version, judge=judge.identity.model)

    @router.get("/v1/rubrics", operation_id="rubrics", summary="The static rubric sets")
    async def rubrics() -> RubricList:
        """Each set with its criteria, as the judge reads them, and its version."""
        return RubricList(sets=views)

    return router
