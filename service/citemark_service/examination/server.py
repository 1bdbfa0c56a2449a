"""Probes of the servers that the settings name, on request and at start-up."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from enum import Enum
from functools import partial
from itertools import count
from typing import Final, Literal, NamedTuple

from citemark_service.errors import JudgeError, JudgeRejected
from citemark_service.examination.probe import SHARED_LINES, ProbeReport, probe, read_prefix_count
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.server.pool import TRANSPORT_ERRORS, RetryPolicy
from citemark_service.judges.server.server import name_servers
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics, ProbeAspect

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


_FEW_LINES: Final = 24  # a model in this process is slow, and has no large cache blocks
_LOOKS: Final = RetryPolicy(attempts=10_000)  # the deadline ends them
_LEVELS: Final = {State.OK: logging.INFO, State.LOOK: logging.WARNING, State.FAILED: logging.ERROR}
_log = logging.getLogger("citemark.probe")


def split_servers(settings: Settings) -> dict[str, Settings]:
    """The settings for each server alone, by its name in metrics.

    A pool of several would send calls to another. Raises `SettingsError` for a repeated server.
    """
    urls = settings.server_urls
    return {
        name: settings.model_copy(update={"judge_url": url, "judge_urls": ()})
        for name, url in zip(name_servers(urls), urls, strict=True)
    }


async def examine(settings: Settings, *, patience_s: float = 0.0) -> tuple[ServerFinding, ...]:
    """Probe the one server of `settings` over separate connections. Raises as `build_judge`.

    A server that cannot be reached is waited for, `patience_s` at most; later failures are
    findings.
    """
    remote = JUDGES[settings.judge].served
    async with aclosing(build_judge(settings, Metrics())) as judge:
        model = judge.identity.model
        if not isinstance(judge, LanguageJudge):
            return (ServerFinding("judge", True, f"{model}: no server, nothing to examine"),)
        try:
            await _reach(judge, patience_s)
            report = await probe(
                judge.pool,
                nonce=secrets.token_hex(4),
                read_count=partial(read_prefix_count, settings.judge_url) if remote else None,
                deadline=time.monotonic() + settings.judge_deadline_s,
                lines=SHARED_LINES if remote else _FEW_LINES,
            )
        except JudgeError as error:
            return (explain_failure(error),)
    where = f"at {settings.judge_url}" if remote else "in this process"
    return explain_report(report, f"{model} {where}")


async def _reach(judge: LanguageJudge, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    for attempt in count(1):
        try:
            await judge.check()
        except TRANSPORT_ERRORS as error:
            await asyncio.sleep(_LOOKS.plan_retry(error, attempt, deadline))
        else:
            return


def start_probe(settings: Settings, metrics: Metrics) -> AbstractAsyncContextManager[None] | None:
    """The probe at start-up; None where it is off or the judge has no server."""
    wanted = settings.probe_at_start and JUDGES[settings.judge].served
    return probing(settings, metrics) if wanted else None


@asynccontextmanager
async def probing(
    settings: Settings, metrics: Metrics, *, patience_s: float = 900.0
) -> AsyncIterator[None]:
    """Examine each server in the background while entered; leaving cancels unfinished probes.

    It logs one line for each finding and sets `metrics.probes`; failures are findings. A server
    that is still loading its model is waited for, `patience_s` at most. Entering raises as
    `split_servers`.
    """

    async def examine_server(name: str, alone: Settings) -> None:
        for finding in await examine(alone, patience_s=patience_s):
            # One line of printable characters: a server's text must not forge lines of the log.
            seen = "".join(filter(str.isprintable, " ".join(finding.seen.split())))
            level, state = _LEVELS[finding.state], finding.state.value
            _log.log(level, "%s: %s %s: %s", name, finding.aspect, state, seen)
            if finding.aspect != "judge" and finding.works is not None:
                metrics.probes.labels(name, finding.aspect).set(finding.works)

    tasks = [asyncio.create_task(examine_server(*each)) for each in split_servers(settings).items()]
    for task in tasks:
        task.add_done_callback(_log_defect)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the probe at start-up broke", exc_info=error)
