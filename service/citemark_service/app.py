"""The application factory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from importlib.metadata import version

from fastapi import Depends
from opentelemetry.trace import NoOpTracer, Tracer
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from citemark_rubrics import load_library
from citemark_service.judges.tasks import Judge
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.admission import Admission, Guesses, Reads
from citemark_service.web.envelope import Envelope, TokenGate
from citemark_service.web.openapi import Citemark
from citemark_service.web.problems import HANDLERS
from citemark_service.web.routes.operations import about_router, health_router
from citemark_service.web.routes.rescore import rescore_router
from citemark_service.web.routes.score import score_router, stream_router
from citemark_service.web.routes.trainers import TrainerEndpoint, gym_router, trainer_router
from citemark_service.web.site import SameSite
from citemark_service.web.ui.docs import docs_router
from citemark_service.web.ui.routes import PageDoor, Passes, ui_router
from citemark_service.web.ui.templates import Templates, answer_with_pages


def create_app(
    settings: Settings,
    judge: Judge,
    *,
    metrics: Metrics | None = None,
    beside: AbstractAsyncContextManager[None] | None = None,
    ledger: Ledger | None = None,
    view: LedgerReader | None = None,
    tracer: Tracer = NoOpTracer(),
) -> Citemark:
    """The service as an ASGI application, which closes `judge` and `view` when it ends.

    Args:
        metrics, tracer: those that the judge reports to.
        beside: entered while the service runs, such as `start_probe`.
        ledger: keeps every scored rollout.

    Raises:
        RubricError: a file of `settings.rubrics_dir` is no rubric set.
        SettingsError: the default static set is not in the library.
    """
    library, metrics = load_library(settings.rubrics_dir), metrics or Metrics()
    admission = Admission(settings, metrics)
    metrics.add_rubrics(each.title for known in library.sets() for each in known.criteria)
    reads, token, guesses = Reads(), settings.api_token, Guesses(settings.max_wrong_tokens)
    passes = None if token is None else Passes(token, guesses, settings.page_login_s)
    templates = Templates(guarded=passes is not None)

    @asynccontextmanager
    async def lifespan(_: Citemark) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if view is not None:
                stack.callback(view.close)
            stack.callback(reads.close)
            for each in (aclosing(judge), ledger, beside):
                if each is not None:
                    await stack.enter_async_context(each)
            yield

    envelope = Middleware(Envelope, admission=admission, metrics=metrics, tracer=tracer)
    gate = Middleware(TokenGate, token=token, guesses=guesses)
    app = Citemark(
        admission=admission,
        judge=judge,
        title="Citemark",
        summary="Rubric and citation rewards for research refiners.",
        version=version("citemark"),
        lifespan=lifespan,
        dependencies=[Depends(SameSite(settings))],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=answer_with_pages(HANDLERS, templates),
        middleware=_order(settings, envelope, gate, passes, templates),
        # FastAPI's own telemetry would record paths and quote bodies that it cannot parse.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    pipeline = Pipeline(
        judge=judge,
        library=library,
        settings=settings,
        metrics=metrics,
        keep=None if ledger is None else ledger.keep,
        tracer=tracer,
        logs=True,
    )
    for router in (
        score_router(pipeline, admission),
        rescore_router(view, admission),
        stream_router(pipeline, admission),
        trainer_router(TrainerEndpoint(pipeline, admission, metrics.registry)),
        gym_router(admission, pipeline.threads),
        ui_router(pipeline, admission, reads, view, ledger, templates=templates, passes=passes),
        docs_router(templates),
        health_router(admission, judge, metrics),
        about_router(library, judge, version=app.version),
    ):
        app.include_router(router)
    return app


def _order(
    settings: Settings,
    envelope: Middleware,
    gate: Middleware,
    passes: Passes | None,
    templates: Templates,
) -> list[Middleware]:
    """What a request goes through, from outside to inside."""
    order = [envelope, gate]
    if passes is not None:
        # Before the gate, which lets in what came through this door.
        order.insert(1, Middleware(PageDoor, passes=passes, templates=templates))
    if settings.trusted_proxies:
        proxies = list(settings.trusted_proxies)
        order.insert(0, Middleware(ProxyHeadersMiddleware, trusted_hosts=proxies))
    return order
