"""`POST /v1/score`: one rollout or a batch, answered when all of it is judged."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from citemark_schemas import BatchOptions, ScoreResponse, ScoreResult
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.batch import score_batch, unless_gone
from citemark_service.web.body import declared_length, read_body
from citemark_service.web.documented import REFUSALS, SCORE_ANSWER, SCORE_BODY
from citemark_service.web.intake import Batch, parse_batch
from citemark_service.web.origin import CallerName, origin_of
from citemark_service.web.quota import Hold


class ScoreEndpoint:
    """One request from bytes to bytes, inside the service's bounds."""

    def __init__(self, *, pipeline: Pipeline, settings: Settings, admission: Admission) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._admission = admission

    async def answer(self, request: Request, query: BatchOptions, caller: str | None) -> bytes:
        """The response body; `query` holds the URL's options, `caller` is what the header says.

        Raises `RequestError` and `ClientDisconnect`.
        """
        self._admission.require_open()
        with self._admission.rollouts.hold() as rollouts, self._admission.buffered.hold() as held:
            rollouts.take()  # at least one; who cannot have that is refused before it uploads
            batch = await self._batch(request, query, rollouts, held)
            self._admission.require_open()
            said = batch.options
            origin = origin_of(request, caller, said.priority, run=said.run, step=said.step)
            async with self._admission.work():
                work = score_batch(self._pipeline, batch, origin)
                return await unless_gone(request.receive, work)

    async def _batch(
        self, request: Request, query: BatchOptions, rollouts: Hold, held: Hold
    ) -> Batch:
        body = await read_body(
            request.receive,
            declared=declared_length(request.headers),
            limit=self._settings.max_body_bytes,
            held=held,
            admission=self._admission,
            timeout_s=self._settings.body_timeout_s,
        )
        return await parse_batch(
            body,
            query=query,
            settings=self._settings,
            check=self._pipeline.check,
            admit=rollouts.grow,
        )


def score_router(endpoint: ScoreEndpoint) -> APIRouter:
    """The route, with its body documented by hand because it is read raw."""
    router = APIRouter(tags=["score"])

    @router.post(
        "/v1/score",
        operation_id="score",
        summary="Score one rollout or a batch",
        response_model=None,
        responses={200: {"model": ScoreResult | ScoreResponse, **SCORE_ANSWER}, **REFUSALS},
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
        return Response(
            await endpoint.answer(request, options, caller), media_type="application/json"
        )

    return router
