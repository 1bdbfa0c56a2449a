"""Builders of the judges that run on separate servers: `vllm` and `openai`."""

import logging
import secrets
from collections.abc import Iterator, Sequence

from opentelemetry.trace import Tracer

from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PROMPT_BYTES, PromptWriter
from citemark_service.judges.server.client import HttpTransport
from citemark_service.judges.server.pool import JudgePool, RetryPolicy
from citemark_service.judges.server.server import Endpoint, ServerLimits, Transport
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_log = logging.getLogger("citemark.judge")


def build_vllm(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> LanguageJudge:
    """A judge on vLLM or another OpenAI-compatible server. Raises as `build_judge`."""
    style = settings.judge_constraint
    transports = [
        HttpTransport(
            endpoint,
            style="structured_outputs" if style == "auto" else style,
            priorities=settings.judge_priority_scheduling,
            trust_env=settings.trust_env,
        )
        for endpoint in _read_endpoints(settings)
    ]
    prime_wait_s = settings.prime_wait_s if settings.prime_prefix else None
    return build_served(settings, transports, metrics, tracer, prime_wait_s=prime_wait_s)


def build_hosted(settings: Settings, *, metrics: Metrics, tracer: Tracer) -> LanguageJudge:
    """A judge on a vendor's API. Raises as `build_judge`."""
    # Imported here: the openai package takes a second to import, and no other judge needs it.
    from citemark_service.judges.server.hosted import HostedTransport  # noqa: PLC0415

    slots = settings.judge_concurrency
    endpoints = _read_endpoints(settings)
    transports = [
        HostedTransport(endpoint, connections=slots, trust_env=settings.trust_env)
        for endpoint in endpoints
    ]
    return build_served(settings, transports, metrics, tracer)


def build_served(
    settings: Settings,
    transports: Sequence[Transport],
    metrics: Metrics,
    tracer: Tracer,
    *,
    prime_wait_s: float | None = None,
    prompt_bytes: int = PROMPT_BYTES,
    top_logprobs: int | None = None,
) -> LanguageJudge:
    """A language judge over `transports`, which it owns and closes."""
    limits = ServerLimits(
        concurrency=settings.judge_concurrency,
        timeout_s=settings.judge_timeout_s,
        queue=settings.judge_queue,
    )
    pool = JudgePool(
        transports,
        limits=limits,
        retry=RetryPolicy(attempts=settings.judge_attempts),
        metrics=metrics,
        tracer=tracer,
        prime_wait_s=prime_wait_s,
    )
    # A random secret per process: replicas that share none fence their prompts differently.
    shared = settings.nonce_secret
    secret = secrets.token_bytes(16) if shared is None else shared.get_secret_value().encode()
    reads = settings.judge_asks == "read"
    if reads and settings.evidence_quotes:
        _log.info("verdicts are read, so criteria come without quotes; judge_asks=write has them")
    return LanguageJudge(
        pool,
        model=settings.judge_model,
        writer=PromptWriter(secret=secret, prompt_bytes=prompt_bytes, reads=reads),
        metrics=metrics,
        criteria_per_call=settings.criteria_per_call,
        evidence_quotes=settings.evidence_quotes,
        top_logprobs=settings.judge_top_logprobs if top_logprobs is None else top_logprobs,
        least_label_mass=settings.judge_label_mass,
    )


def _read_endpoints(settings: Settings) -> Iterator[Endpoint]:
    key = settings.judge_api_key
    for url in settings.server_urls:
        secret = key.get_secret_value() if key else None
        bare = frozenset(["logprobs"]) if not settings.judge_top_logprobs else frozenset()
        yield Endpoint(url, settings.judge_model, secret, settings.judge_omits | bare)
