"""The judges that are language models on servers of their own: `vllm` and `openai`."""

import secrets
from collections.abc import Callable

from opentelemetry.trace import Tracer

from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.server.client import HttpTransport
from citemark_service.judges.server.pool import JudgePool, RetryPolicy
from citemark_service.judges.server.server import CallLimits, Endpoint, Transport
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_SECRET_BYTES = 16


def build_vllm(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> LanguageJudge:
    """A model on vLLM, or on any other OpenAI-compatible server. Raises as `build_judge`."""
    style = settings.judge_constraint

    def connect(endpoint: Endpoint) -> Transport:
        return HttpTransport(
            endpoint,
            style="structured_outputs" if style == "auto" else style,
            priorities=settings.judge_priority_scheduling,
        )

    prime_wait_s = settings.prime_wait_s if settings.prime_prefix else None
    return _build(settings, connect, metrics, tracer, prime_wait_s=prime_wait_s)


def build_hosted(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> LanguageJudge:
    """A model of a vendor. Raises as `build_judge`."""
    # The package takes a second to import, which no other judge has to wait for.
    from citemark_service.judges.server.hosted import HostedTransport  # noqa: PLC0415

    def connect(endpoint: Endpoint) -> Transport:
        return HostedTransport(endpoint, connections=settings.judge_concurrency)

    return _build(settings, connect, metrics, tracer)


def fence_secret(settings: Settings) -> bytes:
    """What the fences in prompts are drawn from; random where the settings have none."""
    if settings.nonce_secret is None:
        return secrets.token_bytes(_SECRET_BYTES)
    return settings.nonce_secret.get_secret_value().encode()


def _build(
    settings: Settings,
    connect: Callable[[Endpoint], Transport],
    metrics: Metrics,
    tracer: Tracer,
    *,
    prime_wait_s: float | None = None,
) -> LanguageJudge:
    key, model = settings.judge_api_key, settings.judge_model
    secret = None if key is None else key.get_secret_value()
    pool = JudgePool(
        [connect(Endpoint(url, model, secret)) for url in settings.server_urls],
        limits=CallLimits(
            concurrency=settings.judge_concurrency,
            queue=settings.judge_queue,
            timeout_s=settings.judge_timeout_s,
        ),
        retry=RetryPolicy(attempts=settings.judge_attempts),
        metrics=metrics,
        tracer=tracer,
        prime_wait_s=prime_wait_s,
    )
    return LanguageJudge(
        pool,
        model=model,
        writer=PromptWriter(secret=fence_secret(settings)),
        metrics=metrics,
        criteria_per_call=settings.criteria_per_call,
        evidence_quotes=settings.evidence_quotes,
    )
