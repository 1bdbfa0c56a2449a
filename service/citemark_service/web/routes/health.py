"""Probes and metrics: `/healthz`, `/readyz`, `/metrics`."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from citemark_schemas import Problem
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.admission import Admission
from citemark_service.web.documented import UNREADY
from citemark_service.web.problems import answer
from citemark_service.web.readiness import Readiness


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(frozen=True)

    status: str = "ok"


class Ready(BaseModel):
    """Rollouts can be judged."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status: str = "ready"
    down: tuple[str, ...] = ()
    """Servers of the judge that get no calls at the moment, by host and port."""


def health_router(
    *, admission: Admission, readiness: Readiness, metrics: Metrics, model: str
) -> APIRouter:
    """The routes that an orchestrator asks; `model` is the judge's name."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", operation_id="healthz", summary="Whether the process is alive")
    async def healthz() -> Alive:
        """200 for as long as anything is answered, while stopping too."""
        return Alive()

    @router.get(
        "/readyz",
        operation_id="readyz",
        summary="Whether rollouts can be judged",
        response_model=Ready,
        responses=UNREADY,
    )
    async def readyz() -> Ready | Response:
        """200 where a server of the judge can be reached; asked every two seconds at most."""
        admission.require_open()
        failure = await readiness.failure()
        if failure is None:
            return Ready(down=tuple(name for name, up in metrics.servers_up.items() if not up()))
        return answer(503, Problem(error=failure.kind.value, message=f"{model}: {failure}"))

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
