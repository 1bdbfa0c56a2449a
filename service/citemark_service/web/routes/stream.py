"""`POST /v1/score/stream`: rollouts and results as lines, in full duplex."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from citemark_schemas import Knobs, RequestOptions
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.documented import REFUSALS, STREAM_ANSWER, STREAM_BODY
from citemark_service.web.origin import CallerName, origin_of
from citemark_service.web.quota import Hold
from citemark_service.web.stream import Outlet, ScoreStream


class StreamResponse(Response):
    """A response that reads its request while it is written."""

    media_type = "application/x-ndjson"

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        settings: Settings,
        admission: Admission,
        knobs: Knobs,
        origin: Origin,
    ) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._pipeline = pipeline
        self._settings = settings
        self._admission = admission
        self._knobs = knobs
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream until its input ends and everything is answered.

        Raises:
            RequestError: before the first byte, where no further stream may be opened.
        """
        del scope
        self._admission.require_open()
        with self._admission.streams.hold() as stream, self._admission.rollouts.hold() as held:
            stream.take()
            with suppress(ClientDisconnect):
                await self._stream(send, held).run(receive, self.raw_headers)

    def _stream(self, send: Send, held: Hold) -> ScoreStream:
        return ScoreStream(
            pipeline=self._pipeline,
            knobs=self._knobs,
            origin=self._origin,
            settings=self._settings,
            admission=self._admission,
            outlet=Outlet(send, timeout_s=self._settings.stream_idle_s),
            held=held,
        )


def stream_router(*, pipeline: Pipeline, settings: Settings, admission: Admission) -> APIRouter:
    """The route; its body is documented by hand because it is read as it comes."""
    router = APIRouter(tags=["score"])

    @router.post(
        "/v1/score/stream",
        operation_id="score_stream",
        summary="Score rollouts line by line",
        response_model=None,
        response_class=Response,
        responses={200: STREAM_ANSWER, **REFUSALS},
        openapi_extra=STREAM_BODY,
    )
    async def score_stream(
        request: Request,
        options: Annotated[RequestOptions, Query()],
        caller: CallerName = None,
    ) -> Response:
        """Send one rollout a line; each is answered by one line as it finishes, in any order.

        `line` in an answer is the 1-based number of the input line; blank lines count and are
        not answered. A malformed or overlong line is answered by an error line and hurts no
        other. Read while you write: the service stops reading while its window is full.
        """
        return StreamResponse(
            pipeline=pipeline,
            settings=settings,
            admission=admission,
            knobs=options,
            origin=origin_of(request, caller, options.priority, run=options.run, step=options.step),
        )

    return router
