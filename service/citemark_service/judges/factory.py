"""From settings to the judge that they name."""

import secrets

from citemark_service.errors import SettingsError
from citemark_service.judges.chat import Chat
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.protocol import Judge
from citemark_service.judges.scheduling.health import HealthPolicy
from citemark_service.judges.scheduling.pool import PoolChat
from citemark_service.judges.scheduling.priming import Priming
from citemark_service.judges.scheduling.server import Server, server_names
from citemark_service.judges.smollm2 import build_smollm2
from citemark_service.judges.wire.client import WireChat
from citemark_service.judges.wire.payload import ConstraintStyle
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.judges.wire.sdk import SdkChat
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Tracer

_SECRET_BYTES = 16


def build_judge(settings: Settings, metrics: Metrics, tracer: Tracer | None = None) -> Judge:
    """Build the judge; the caller closes it. `smollm2` loads its model here, in seconds.

    Raises:
        SettingsError: the judge lacks something that it cannot start without.
    """
    match settings.judge:
        case "embedded":
            return EmbeddedJudge()
        case "smollm2":
            return build_smollm2(
                secret=_secret(settings),
                criteria_per_call=settings.criteria_per_call,
                retry=RetryPolicy(attempts=settings.judge_attempts),
                metrics=metrics,
                tracer=tracer,
            )
        case "vllm":
            return _language(settings, metrics, _pool(settings, metrics, tracer))
        case "openai":
            return _language(settings, metrics, _sdk(settings, metrics, tracer))


def _language(settings: Settings, metrics: Metrics, chat: Chat) -> LanguageJudge:
    return LanguageJudge(
        chat,
        model=settings.judge_model,
        writer=PromptWriter(secret=_secret(settings)),
        metrics=metrics,
        criteria_per_call=settings.criteria_per_call,
        evidence_quotes=settings.evidence_quotes,
    )


def _pool(settings: Settings, metrics: Metrics, tracer: Tracer | None) -> PoolChat:
    urls = settings.judge_urls or (settings.judge_url,)
    priming = Priming(wait_s=settings.prime_wait_s, metrics=metrics, tracer=tracer)
    return PoolChat(
        [
            Server(
                name,
                _wire(url, settings, metrics, tracer),
                policy=HealthPolicy(),
                metrics=metrics,
            )
            for name, url in zip(server_names(urls), urls, strict=True)
        ],
        retry=RetryPolicy(attempts=settings.judge_attempts),
        metrics=metrics,
        priming=priming if settings.prime_prefix else None,
    )


def _wire(url: str, settings: Settings, metrics: Metrics, tracer: Tracer | None) -> WireChat:
    return WireChat(
        base_url=url,
        model=settings.judge_model,
        api_key=_api_key(settings),
        constraint_style=_constraint_style(settings),
        concurrency=settings.judge_concurrency,
        queue=settings.judge_queue,
        priorities=settings.judge_priority_scheduling,
        timeout_s=settings.judge_timeout_s,
        retry=RetryPolicy(attempts=settings.judge_attempts),
        metrics=metrics,
        tracer=tracer,
    )


def _sdk(settings: Settings, metrics: Metrics, tracer: Tracer | None) -> SdkChat:
    if settings.judge_urls:
        raise SettingsError("judge_urls is for judge vllm; a hosted judge has one judge_url")
    return SdkChat(
        base_url=settings.judge_url,
        model=settings.judge_model,
        api_key=_api_key(settings),
        logprobs=True,
        concurrency=settings.judge_concurrency,
        timeout_s=settings.judge_timeout_s,
        retry=RetryPolicy(attempts=settings.judge_attempts),
        metrics=metrics,
        tracer=tracer,
    )


def _constraint_style(settings: Settings) -> ConstraintStyle:
    if settings.judge_constraint == "auto":
        return "structured_outputs"
    return settings.judge_constraint


def _secret(settings: Settings) -> bytes:
    if settings.nonce_secret is None:
        return secrets.token_bytes(_SECRET_BYTES)
    return settings.nonce_secret.get_secret_value().encode()


def _api_key(settings: Settings) -> str | None:
    return None if settings.judge_api_key is None else settings.judge_api_key.get_secret_value()
