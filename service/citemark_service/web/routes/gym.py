"""NeMo Gym's routes beside `/verify`: sessions, modes and aggregates."""

import asyncio
from typing import Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from citemark_service.trainers.engine import decode_body
from citemark_service.trainers.gym import aggregate_rows
from citemark_service.trainers.route import bad_body
from citemark_service.web.admission import Admission
from citemark_service.web.bodies import read_body
from citemark_service.web.openapi import REFUSALS, raw_body


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


def gym_router(admission: Admission) -> APIRouter:
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
    async def aggregate_metrics(request: Request) -> Response:
        """Mean, max, min, median and standard deviation of every number, masked rows left out."""
        admission.require_open()
        with admission.buffered.hold() as held:
            body = await read_body(request, admission, held)
            # The rows of a whole run would hold the event loop.
            rows = await asyncio.to_thread(_aggregate, body)
            return Response(rows, media_type="application/json")

    return router


def _aggregate(body: bytes) -> bytes:
    rows = decode_body(body).get("verify_responses")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise bad_body("verify_responses", "must be a list of objects")
    return msgspec.json.encode(aggregate_rows(rows))
