"""Explaining a probe's report, with the setting or flag that helps. Pure."""

from enum import Enum
from typing import Final, Literal, NamedTuple

from citemark_service.errors import JudgeError, JudgeRejected
from citemark_service.examination.probe import ProbeReport
from citemark_service.telemetry.metrics import ProbeAspect

POOR_SHARE: Final = 0.5  # a cache with less of the shared tokens counts as not working


class State(Enum):
    OK = "ok"
    LOOK = "look"  # costs money or detail
    FAILED = "failed"  # costs verdicts


class ServerFinding(NamedTuple):
    """One aspect of one server; `judge` is whether it answers at all."""

    aspect: ProbeAspect | Literal["judge"]
    works: bool | None  # None if unknown
    seen: str

    @property
    def state(self) -> State:
        if self.works:
            return State.OK
        return State.FAILED if self.aspect in ("judge", "grammar") else State.LOOK


def explain_failure(error: JudgeError) -> ServerFinding:
    advice = "does it run, and is CITEMARK_JUDGE_URL its address?"
    if isinstance(error, JudgeRejected):
        advice = (
            "CITEMARK_JUDGE_URL (with its /v1), CITEMARK_JUDGE_MODEL, CITEMARK_JUDGE_API_KEY and "
            "CITEMARK_JUDGE_CONSTRAINT say what is asked of it"
        )
    return ServerFinding("judge", False, f"{error.kind}: {error}; {advice}")


def explain_report(report: ProbeReport, server: str) -> tuple[ServerFinding, ...]:
    times = ", ".join(f"{seconds:.2f}" for seconds in report.seconds)
    grammar = "asked for prose, it replied with verdicts only"
    if report.grammar is not None:
        grammar = (
            f"{report.grammar}; serve vLLM without a reasoning parser; "
            "elsewhere CITEMARK_JUDGE_CONSTRAINT may help"
        )
    logprobs = "verdicts are weighted by probability"
    if not report.logprobs:
        logprobs = "none: scores are bare verdicts, and tie more often; vLLM gives them to who asks"
    share = report.cached_share
    works = None if share is None else share >= POOR_SHARE
    cache = "the server does not tell; vLLM does with --enable-prompt-tokens-details"
    if share is not None:
        cache = (
            f"{report.third.tokens} of about {report.shared_tokens} shared tokens ({share:.0%}) at "
            f"the third call, {report.second.tokens or 'none'} at the second, "
            f"by its {report.third.source}{'' if works else '; is --enable-prefix-caching on?'}"
        )
    return (
        ServerFinding("judge", True, f"{server} answered in {times} s"),
        ServerFinding("grammar", report.grammar is None, grammar),
        ServerFinding("logprobs", report.logprobs, logprobs),
        ServerFinding("prefix_cache", works, cache),
    )
