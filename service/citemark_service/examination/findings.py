"""What a probe's report says about a server, in words that name what mends it. Pure."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from citemark_service.errors import JudgeError, JudgeRejected
from citemark_service.examination.probe import Cached, ProbeReport
from citemark_service.telemetry.metrics import ProbeAspect

POOR_SHARE: Final = 0.5
"""Below this share of the shared tokens a cache does not work."""

_GRAMMAR: Final = (
    "serve vLLM without a reasoning parser; elsewhere CITEMARK_JUDGE_CONSTRAINT may help"
)
_REFUSED: Final = (
    "CITEMARK_JUDGE_URL (with its /v1), CITEMARK_JUDGE_MODEL, CITEMARK_JUDGE_API_KEY and "
    "CITEMARK_JUDGE_CONSTRAINT say what is asked of it"
)
_AWAY: Final = "does it run, and is CITEMARK_JUDGE_URL its address?"


class State(Enum):
    """How much a finding matters."""

    OK = "ok"
    LOOK = "look"
    """It costs money or detail."""
    FAILED = "failed"
    """It costs verdicts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One aspect of one server; `judge` is whether it answers at all."""

    aspect: ProbeAspect | Literal["judge"]
    works: bool | None
    """None where the server does not tell."""
    seen: str

    @property
    def state(self) -> State:
        """As bad as the service's need for the aspect."""
        if self.works:
            return State.OK
        return State.FAILED if self.aspect in ("judge", "grammar") else State.LOOK


def reported(report: ProbeReport, server: str) -> tuple[Finding, ...]:
    """The findings about a server that answered; `server` says which and where."""
    times = ", ".join(f"{seconds:.2f}" for seconds in report.seconds)
    reached = Finding("judge", True, f"{server} answered in {times} s")
    return (reached, _grammar(report), _logprobs(report), _cache(report))


def unanswered(error: JudgeError) -> Finding:
    """The one finding about a server that could not be asked."""
    advice = _REFUSED if isinstance(error, JudgeRejected) else _AWAY
    return Finding("judge", False, f"{error.kind}: {error}; {advice}")


def _grammar(report: ProbeReport) -> Finding:
    if report.grammar is None:
        return Finding("grammar", True, "asked for prose, it replied with verdicts only")
    return Finding("grammar", False, f"{report.grammar}; {_GRAMMAR}")


def _logprobs(report: ProbeReport) -> Finding:
    if report.logprobs:
        return Finding("logprobs", True, "verdicts are weighted by probability")
    told = "none: scores are bare verdicts, and tie more often; vLLM gives them to who asks"
    return Finding("logprobs", False, told)


def _cache(report: ProbeReport) -> Finding:
    share = report.cached_share
    if share is None:
        told = "the server does not tell; vLLM does with --enable-prompt-tokens-details"
        return Finding("prefix_cache", None, told)
    seen = (
        f"{report.third.tokens} of about {report.shared_tokens} shared tokens ({share:.0%}) "
        f"at the third call, {_told(report.second)} at the second, by its {report.third.source}"
    )
    if share >= POOR_SHARE:
        return Finding("prefix_cache", True, seen)
    return Finding("prefix_cache", False, f"{seen}; is --enable-prefix-caching on?")


def _told(cached: Cached) -> str:
    return "none" if not cached.tokens else str(cached.tokens)
