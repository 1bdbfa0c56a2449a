"""Probing a judge's servers, on request and at start-up: grammar, logprobs and prefix cache.

All three calls ask for prose under the grammar of verdicts; a server that ignores it sends prose.
Where verdicts are read they ask for readings, which must come from the levels.
They share a long beginning and differ in a long end, as the samples of a group do. Repeating one
prompt would not do: for a hybrid model vLLM caches the recurrent state where a scheduler step
ends, which is in the differing part. A repeated prompt hits that state, a group's prompts do
not; only where a second prompt diverges from the first does vLLM cache a state for the third.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import count
from typing import Final, Literal, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from citemark_service.errors import (
    InvalidVerdict,
    JudgeCannotRead,
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeTimeout,
    JudgeTruncated,
    JudgeUnreadable,
    PromptTooLong,
)
from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.answers import ask_criteria, parse_answers
from citemark_service.judges.language.grammar import criteria_layout
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.replies import parse_reply
from citemark_service.judges.server.pool import TRANSPORT_ERRORS, JudgePool, RetryPolicy
from citemark_service.judges.server.server import name_servers
from citemark_service.judges.tasks import Meter
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics, ProbeAspect

POOR_SHARE: Final = 0.5  # a cache with less of the shared tokens counts as not working
_PREFIX: Final = "vllm:prefix_cache_"
_MAX_BYTES: Final = 4 * 1024 * 1024
_FEW_LINES: Final = 24  # a model in this process is slow, and has no large cache blocks
_LOOKS: Final = RetryPolicy(attempts=10_000)  # the deadline ends them
_log = logging.getLogger("citemark.probe")


class PrefixCount(NamedTuple):
    """Prompt tokens since the server started, over all its engines."""

    queried: int
    hit: int


async def read_prefix_count(judge_url: str, *, timeout_s: float = 5.0) -> PrefixCount | None:
    """The counters of the server at `judge_url`; None where it exposes none."""
    url = judge_url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        # Without proxies of the environment, as the judge's client.
        async with (
            asyncio.timeout(timeout_s),  # for the whole reply; httpx's is for each read
            httpx.AsyncClient(timeout=timeout_s, trust_env=False) as http,
        ):
            response = await http.get(url)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
        return None
    if response.status_code != httpx.codes.OK or len(response.content) > _MAX_BYTES:
        return None
    return parse_prefix_count(response.text)


def parse_prefix_count(exposition: str) -> PrefixCount | None:
    """The counters in Prometheus text; None where one is missing or the text is invalid."""
    # Parsing all that vLLM exposes would block the event loop for tens of milliseconds.
    lines = "\n".join(line for line in exposition.split("\n") if _PREFIX in line)
    totals = {}
    try:
        for family in text_string_to_metric_families(lines):
            values = [s.value for s in family.samples if s.name.endswith("_total")]
            totals[family.name] = int(sum(values))
        return PrefixCount(totals[f"{_PREFIX}queries"], totals[f"{_PREFIX}hits"])
    except (KeyError, ValueError):
        return None


_LAYOUT: Final = criteria_layout(2, quotes=False)
_SYSTEM: Final = "You describe shelves in plain prose."
_READ_LAYOUT: Final = criteria_layout(1, quotes=False)  # a second question would find the first's
_ASKED: Final = (("quality", "Names each shelf."),)
_ASK: Final = "Describe the first shelf in two sentences of plain prose, without any digit."
# About 2,900 tokens; the differing part has half as many. Each is longer than one cache block of
# the known hybrid models.
SHARED_LINES: Final = 140

ReadCount = Callable[[], Awaitable[PrefixCount | None]]


class CachedTokens(NamedTuple):
    """How many tokens of a prompt were cached, by the reply's usage or the server's metrics."""

    tokens: int | None = None  # None if neither reports them
    source: Literal["usage", "metrics"] | None = None


@dataclass(frozen=True, slots=True)
class ProbeReport:
    grammar: str | None  # the first violation; None if all replies conform
    logprobs: bool
    prompt_tokens: int  # of each call
    shared_tokens: int  # about how many of them are common to all calls
    second: CachedTokens
    third: CachedTokens  # what the rest of a group gets
    seconds: tuple[float, ...]  # of each call
    reads: bool = False  # then `grammar` is what is wrong with the readings

    @property
    def cached_share(self) -> float | None:
        """The cached share in [0, 1] of the third call's shared tokens; None if unknown."""
        if self.third.tokens is None or not self.shared_tokens:
            return None
        return min(1.0, self.third.tokens / self.shared_tokens)


async def probe(
    pool: JudgePool,
    *,
    nonce: str,
    read_count: ReadCount | None,
    deadline: float | None,
    lines: int = SHARED_LINES,
    least_label_mass: float | None = None,
) -> ProbeReport:
    """Make three calls and compare the replies.

    Args:
        nonce: begins the shared text, so that nothing of an earlier probe is cached.
        read_count: used where replies do not report cached tokens.
        deadline: `time.monotonic()` value for all calls together, None for no limit.
        lines: length of the shared part, each line about 21 tokens.
        least_label_mass: of readings, which are asked for where it is given.

    Raises `JudgeError` as `JudgePool.complete`; a violation of the grammar is reported instead.
    """
    shared, reads = _write_shelves(nonce, lines), least_label_mass is not None
    ask = "" if reads else _ASK
    replies: list[ChatReply] = []
    cached: list[CachedTokens] = []
    seconds: list[float] = []
    for number in range(3):
        own = _write_shelves(f"{nonce} part {number}", lines // 2)
        prompt = f"{shared}\n{own}\n{ask}"
        request = ChatRequest(
            messages=(Message("system", _SYSTEM), Message("user", prompt)),
            constraint=_LAYOUT.constraint,
            max_tokens=_LAYOUT.max_tokens,
            top_logprobs=0 if reads else 8,
            questions=ask_criteria(_ASKED, nonce) if reads else (),
            affinity=nonce,  # all to one server, where there are several
        )
        before = await read_count() if read_count else None
        start = time.perf_counter()
        replies.append(await pool.complete(request, meter=Meter(), deadline=deadline))
        seconds.append(time.perf_counter() - start)
        after = await read_count() if read_count else None
        cached.append(_count_cached(replies[-1], before, after))
    last = replies[-1]
    # By characters, since both parts have about the same characters per token.
    share = (len(_SYSTEM) + len(shared)) / (len(_SYSTEM) + len(prompt))
    return ProbeReport(
        grammar=next(filter(None, map(partial(_find_violation, least_label_mass), replies)), None),
        logprobs=reads or last.tokens is not None,
        prompt_tokens=last.usage.prompt_tokens,
        shared_tokens=round(last.usage.prompt_tokens * share),
        second=cached[1],
        third=cached[2],
        seconds=tuple(seconds),
        reads=reads,
    )


def _write_shelves(label: str, lines: int) -> str:
    return "\n".join(f"{label}: shelf {n} holds {n * n % 97} books on rivers" for n in range(lines))


def _count_cached(
    reply: ChatReply, before: PrefixCount | None, after: PrefixCount | None
) -> CachedTokens:
    if reply.usage.cached_tokens:
        return CachedTokens(reply.usage.cached_tokens, "usage")
    # Any other increase than this call's tokens includes other calls, whose hits these may be.
    if not before or not after or after.queried - before.queried != reply.usage.prompt_tokens:
        return CachedTokens()
    return CachedTokens(after.hit - before.hit, "metrics")


def _find_violation(least_label_mass: float | None, reply: ChatReply) -> str | None:
    try:
        if least_label_mass is None:
            parse_reply(reply, _LAYOUT)
        else:
            parse_answers([reply.content], _READ_LAYOUT, least_label_mass)
    except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
        return str(error)
    return None


class State(Enum):
    OK = "ok"
    LOOK = "look"  # costs money or detail
    FAILED = "failed"  # costs verdicts


_LEVELS: Final = {State.OK: logging.INFO, State.LOOK: logging.WARNING, State.FAILED: logging.ERROR}


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
    match error:
        case JudgeCannotRead():
            return ServerFinding("judge", False, f"{error.kind}: {error}")
        case JudgeRejected(status=401 | 403):
            advice = "CITEMARK_JUDGE_API_KEY is the key that it is shown"
        case JudgeRejected(status=404 | 405):
            advice = (
                "CITEMARK_JUDGE_URL mostly ends in /v1, and CITEMARK_JUDGE_MODEL is a name that "
                "the server knows"
            )
        case PromptTooLong():
            advice = "its context is too short for rollouts; serve vLLM with --max-model-len 32768"
        case JudgeRejected():
            advice = "CITEMARK_JUDGE_OMITS and CITEMARK_JUDGE_CONSTRAINT change what it is sent"
        case JudgeUnreadable():
            advice = (
                "it answers, but not with a chat model's text: serve vLLM without a reasoning "
                "parser, and a model that can answer without reasoning"
            )
        case JudgeOverloaded():
            advice = "it runs, and takes no more calls for now"
        case JudgeTimeout():
            advice = "is it still loading, or slower than CITEMARK_JUDGE_TIMEOUT_S?"
        case _:
            advice = "does it run, and is CITEMARK_JUDGE_URL its address?"
    return ServerFinding("judge", False, f"{error.kind}: {error}; {advice}")


def explain_report(report: ProbeReport, server: str) -> tuple[ServerFinding, ...]:
    times = ", ".join(f"{seconds:.2f}" for seconds in report.seconds)
    grammar = "asked for prose, it replied with verdicts only"
    if report.reads:
        grammar = report.grammar or "its readings are of the levels that it was given"
    elif report.grammar is not None:
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
                least_label_mass=settings.judge_label_mass
                if settings.judge_asks == "read"
                else None,
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
