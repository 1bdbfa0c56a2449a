"""The application factory: wiring and lifespan, nothing else."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware

from citemark_rubrics import RubricLibrary
from citemark_service.judges.protocol import Judge
from citemark_service.ledger.ledger import Ledger
from citemark_service.metrics import Metrics
from citemark_service.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.dialects.engine import DialectEngine
from citemark_service.web.dialects.table import dialects
from citemark_service.web.envelope import Envelope
from citemark_service.web.gate import TokenGate
from citemark_service.web.openapi import Citemark
from citemark_service.web.problems import HANDLERS
from citemark_service.web.readiness import Readiness
from citemark_service.web.routes.catalogue import catalogue_router
from citemark_service.web.routes.dialects import dialect_router
from citemark_service.web.routes.gym import gym_router
from citemark_service.web.routes.health import health_router
from citemark_service.web.routes.score import ScoreEndpoint, score_router
from citemark_service.web.routes.stream import stream_router


def create_app(
    *,
    settings: Settings,
    judge: Judge,
    library: RubricLibrary,
    metrics: Metrics | None = None,
    admission: Admission | None = None,
    beside: AbstractAsyncContextManager[None] | None = None,
    ledger: Ledger | None = None,
) -> FastAPI:
    """The service as an ASGI application; it closes `judge` when it ends.

    Args:
        metrics: what a judge reports to as well, where it does; a new one by default.
        admission: shared with who drains the service; a new one by default.
        beside: entered while the service runs, such as a `StartProbe`.
        ledger: where every scored rollout is kept; nowhere by default.

    Raises:
        SettingsError: the default static set is not in the library.
    """
    metrics = metrics or Metrics()
    admission = admission or Admission(settings)
    metrics.watch(admission)
    metrics.static_rubrics(each.title for known in library.sets() for each in known.criteria)
    around = [
        Middleware(Envelope, admission=admission, metrics=metrics),
        Middleware(TokenGate, token=settings.api_token),
    ]
    app = _framed(judge, around, [each for each in (ledger, beside) if each is not None])
    pipeline = Pipeline(
        judge=judge, library=library, settings=settings, observer=metrics, ledger=ledger
    )
    endpoint = ScoreEndpoint(pipeline=pipeline, settings=settings, admission=admission)
    app.include_router(score_router(endpoint))
    app.include_router(stream_router(pipeline=pipeline, settings=settings, admission=admission))
    spoken = dialects(settings)
    engine = DialectEngine(
        pipeline=pipeline,
        settings=settings,
        admission=admission,
        dialects=spoken,
        registry=metrics.registry,
    )
    app.include_router(dialect_router(engine, spoken))
    app.include_router(gym_router(settings=settings, admission=admission))
    app.include_router(
        health_router(
            admission=admission,
            readiness=Readiness(judge),
            metrics=metrics,
            model=judge.identity.model,
        )
    )
    app.include_router(
        catalogue_router(library=library, identity=judge.identity, version=app.version)
    )
    return app


def _framed(
    judge: Judge,
    around: list[Middleware],
    beside: Sequence[AbstractAsyncContextManager[object]],
) -> FastAPI:
    """The empty application with what surrounds every route."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with AsyncExitStack() as stack:
                for each in beside:
                    await stack.enter_async_context(each)
                yield
        finally:
            await judge.aclose()

    return Citemark(
        title="Citemark",
        summary="Rubric and citation rewards for research refiners.",
        version=version("citemark"),
        lifespan=lifespan,
        redoc_url=None,
        exception_handlers=HANDLERS,
        middleware=around,
    )
