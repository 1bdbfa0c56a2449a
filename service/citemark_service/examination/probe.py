"""Probing a judge's server with three calls: grammar, logprobs and prefix cache.

All ask for prose under the grammar of verdicts; a server that ignores the grammar sends prose.
They share a long beginning and differ in a long end, as the samples of a group do. Repeating one
prompt would not do: for a hybrid model vLLM caches the recurrent state where a scheduler step
ends, which is in the differing part. A repeated prompt hits that state, a group's prompts do
not; only where a second prompt diverges from the first does vLLM cache a state for the third.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.language.grammar import criteria_layout
from citemark_service.judges.language.replies import parse_reply
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.tasks import Meter

_PREFIX: Final = "vllm:prefix_cache_"
_MAX_BYTES: Final = 4 * 1024 * 1024


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
) -> ProbeReport:
    """Make three calls and compare the replies.

    Args:
        nonce: begins the shared text, so that nothing of an earlier probe is cached.
        read_count: used where replies do not report cached tokens.
        deadline: `time.monotonic()` value for all calls together, None for no limit.
        lines: length of the shared part, each line about 21 tokens.

    Raises `JudgeError` as `JudgePool.complete`; a violation of the grammar is reported instead.
    """
    shared = _write_shelves(nonce, lines)
    replies: list[ChatReply] = []
    cached: list[CachedTokens] = []
    seconds: list[float] = []
    for number in range(3):
        own = _write_shelves(f"{nonce} part {number}", lines // 2)
        prompt = f"{shared}\n{own}\n{_ASK}"
        request = ChatRequest(
            messages=(Message("system", _SYSTEM), Message("user", prompt)),
            constraint=_LAYOUT.constraint,
            max_tokens=_LAYOUT.max_tokens,
            top_logprobs=8,
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
        grammar=next(filter(None, map(_find_violation, replies)), None),
        logprobs=last.tokens is not None,
        prompt_tokens=last.usage.prompt_tokens,
        shared_tokens=round(last.usage.prompt_tokens * share),
        second=cached[1],
        third=cached[2],
        seconds=tuple(seconds),
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


def _find_violation(reply: ChatReply) -> str | None:
    try:
        parse_reply(reply, _LAYOUT)
    except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
        return str(error)
    return None
