"""From settings to the judge that they name."""

import secrets

from citemark_service.judges.chat import Chat
from citemark_service.judges.embedded import EmbeddedJudge
from citemark_service.judges.language import LanguageJudge
from citemark_service.judges.payload import ConstraintStyle
from citemark_service.judges.protocol import Judge
from citemark_service.judges.render import PromptWriter
from citemark_service.judges.retry import RetryPolicy
from citemark_service.judges.sdk import SdkChat
from citemark_service.judges.smollm2 import build_smollm2
from citemark_service.judges.wire import WireChat
from citemark_service.observe import Observer
from citemark_service.settings import Settings

_SECRET_BYTES = 16


def build_judge(settings: Settings, observer: Observer) -> Judge:
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
                observer=observer,
            )
        case "vllm":
            return _language(settings, observer, _wire(settings, observer))
        case "openai":
            return _language(settings, observer, _sdk(settings, observer))


def _language(settings: Settings, observer: Observer, chat: Chat) -> LanguageJudge:
    return LanguageJudge(
        chat,
        model=settings.judge_model,
        writer=PromptWriter(secret=_secret(settings)),
        observer=observer,
        criteria_per_call=settings.criteria_per_call,
        evidence_quotes=settings.evidence_quotes,
    )


def _wire(settings: Settings, observer: Observer) -> WireChat:
    return WireChat(
        base_url=settings.judge_url,
        model=settings.judge_model,
        api_key=_api_key(settings),
        constraint_style=_constraint_style(settings),
        concurrency=settings.judge_concurrency,
        timeout_s=settings.judge_timeout_s,
        retry=RetryPolicy(attempts=settings.judge_attempts),
        observer=observer,
    )


def _sdk(settings: Settings, observer: Observer) -> SdkChat:
    return SdkChat(
        base_url=settings.judge_url,
        model=settings.judge_model,
        api_key=_api_key(settings),
        logprobs=True,
        concurrency=settings.judge_concurrency,
        timeout_s=settings.judge_timeout_s,
        retry=RetryPolicy(attempts=settings.judge_attempts),
        observer=observer,
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
