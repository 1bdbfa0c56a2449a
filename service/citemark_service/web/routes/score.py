"""`POST /v1/score`: one rollout or a batch, answered when all of it is judged."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter

from citemark_schemas import BatchOptions, ScoreResponse, ScoreResult
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.admission import Admission
from citemark_service.web.bodies import read_body, run_unless_gone
from citemark_service.web.intake import Batch, CallerName, parse_batch, to_origin
from citemark_service.web.openapi import REFUSALS, SCORE_ANSWER, SCORE_BODY

_RESULT: TypeAdapter[ScoreResult] = TypeAdapter(ScoreResult)


def score_router(pipeline: Pipeline, admission: Admission) -> APIRouter:
    router = APIRouter(tags=["score"])

    @router.post(
        "/v1/score",
        operation_id="score",
        summary="Score one rollout or a batch",
        response_model=None,
        responses={200: {"model": ScoreResult | ScoreResponse, **SCORE_ANSWER}, **REFUSALS},
        # By hand, because the body is read raw.
        openapi_extra=SCORE_BODY,
    )
    async def score(
        request: Request,
        options: Annotated[BatchOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        """Send one rollout, or `{"items": [rollout, …]}` with knobs for all of them.

        A knob counts where it is set most closely: in the rollout, beside `items`, in the URL,
        in the service's settings.

        One rollout is answered by one result, a batch by `{"items": [result, …]}` in the order
        sent. A judge that fails is no HTTP error: that item has `reward: null` and a `failure`.
        Malformed input refuses the whole request before anything is judged.
        """
        admission.require_open()
        with admission.rollouts.hold() as rollouts, admission.buffered.hold() as held:
            rollouts.take()  # at least one, so that a full service refuses before the upload
            body = await read_body(request, admission, held)
            limits, read = admission.settings, pipeline.read
            batch = await parse_batch(body, options, limits, read, rollouts.grow)
            # Again: the service may have begun to drain during the upload.
            admission.require_open()
            origin = to_origin(request, caller, batch.options)
            async with admission.work():
                work = score_batch(pipeline, batch, origin)
                answer = await run_unless_gone(request.receive, work)
        return Response(answer, media_type="application/json")

    return router


async def score_batch(pipeline: Pipeline, batch: Batch, origin: Origin) -> bytes:
    """JSON: a `ScoreResult` where the batch is single, else a `ScoreResponse` in item order."""
    wait_s = batch.options.deadline_s
    deadline = None if wait_s is None else time.monotonic() + wait_s

    async def score(position: int) -> bytes:
        result = await pipeline.score(
            batch.items[position],
            request=batch.options,
            position=position,
            deadline=deadline,
            origin=origin,
        )
        # Written at once: a thousand results kept as objects make the collector's pauses long.
        return _RESULT.dump_json(result)

    tasks: list[asyncio.Task[bytes]] = []
    async with asyncio.TaskGroup() as group:
        for position in range(len(batch.items)):
            tasks.append(group.create_task(score(position)))
            # One start a turn: a thousand tasks started at once would all run their parsing
            # before the loop looks at a socket again.
            await asyncio.sleep(0)
    results = [task.result() for task in tasks]
    return results[0] if batch.single else b'{"items":[' + b",".join(results) + b"]}"
