"""Does the judge's server do what the service relies on? Three calls find out.

All ask for prose under the grammar of verdicts, so that a server which ignores the grammar is
seen. They share a long beginning and differ in a long end, as the samples of a group do. The
same prompt twice would tell nothing: of a hybrid model vLLM keeps the recurrent state where a
step of its scheduler ends, which lies in what a prompt has for itself. It finds that state for a
repeated prompt and never for a group; only where a second prompt is seen to part from a first
one does it keep a state for the third.
"""

import time
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.examination.prefix_metrics import PrefixCount
from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.language.grammar import Layout, criteria_layout
from citemark_service.judges.language.replies import read
from citemark_service.judges.protocol import Meter
from citemark_service.judges.server.pool import JudgePool

_LAYOUT: Final[Layout] = criteria_layout(2, quotes=False)
_SYSTEM: Final = "You describe shelves in plain prose."
_ASK: Final = "Describe the first shelf in two sentences of plain prose, without any digit."
SHARED_LINES: Final = 140
"""About 2,900 tokens; with half as many for the own part, each is longer than one block of the
hybrid models known."""
_TOP_LOGPROBS: Final = 8

Source = Literal["usage", "metrics"]


class Counters(Protocol):
    """Where a server's own count of cached prompt tokens can be read."""

    async def read(self) -> PrefixCount | None:
        """The count now, or None where the server has none."""
        ...


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What was found."""

    grammar: str | None
    """Why a reply is not what the grammar allows; None where all are."""
    logprobs: bool
    """Whether verdicts can be weighted by probability."""
    prompt_tokens: int
    """Of each call, as of the others."""
    shared_tokens: int
    """About how many of them all calls have."""
    second: "Cached"
    third: "Cached"
    """What the rest of a group gets."""
    seconds: tuple[float, float, float]
    """How long each call took."""

    @property
    def cached_share(self) -> float | None:
        """Of the shared tokens of the third call, in [0, 1]; None where it is not known."""
        if self.third.tokens is None or not self.shared_tokens:
            return None
        return min(1.0, self.third.tokens / self.shared_tokens)


@dataclass(frozen=True, slots=True)
class Cached:
    """How many tokens of a prompt the server had in its cache."""

    tokens: int | None
    """None where the server neither says nor counts."""
    source: Source | None
    """Who told."""


@dataclass(frozen=True, slots=True)
class _Call:
    reply: ChatReply
    seconds: float
    cached: Cached


async def probe(
    pool: JudgePool,
    *,
    nonce: str,
    counters: Counters | None,
    deadline: float | None,
    lines: int = SHARED_LINES,
) -> ProbeReport:
    """Ask three times and compare.

    Args:
        nonce: starts the shared text, so that nothing of an earlier probe is in the cache.
        counters: asked where the replies do not tell of cached tokens.
        deadline: `time.monotonic()` value for all calls together, None for none.
        lines: length of the shared part, each line about 21 tokens.

    Raises:
        JudgeError: as `JudgePool.complete`; a reply against the grammar is in the report instead.
    """
    requests = [_request(nonce, lines, number) for number in range(3)]
    calls = [await _called(pool, request, counters, deadline) for request in requests]
    last = calls[-1].reply
    return ProbeReport(
        grammar=next(filter(None, (_violation(call.reply) for call in calls)), None),
        logprobs=last.tokens is not None,
        prompt_tokens=last.usage.prompt_tokens,
        shared_tokens=_shared_tokens(requests[-1], _text(nonce, lines), last),
        second=calls[1].cached,
        third=calls[2].cached,
        seconds=(calls[0].seconds, calls[1].seconds, calls[2].seconds),
    )


async def _called(
    pool: JudgePool, request: ChatRequest, counters: Counters | None, deadline: float | None
) -> _Call:
    before = await counters.read() if counters else None
    start = time.perf_counter()
    reply = await pool.complete(request, meter=Meter(), deadline=deadline)
    seconds = time.perf_counter() - start
    after = await counters.read() if counters else None
    return _Call(reply, seconds, _cached(reply, before, after))


def _request(nonce: str, lines: int, call: int) -> ChatRequest:
    own = _text(f"{nonce} part {call}", lines // 2)
    return ChatRequest(
        messages=(
            Message("system", _SYSTEM),
            Message("user", f"{_text(nonce, lines)}\n{own}\n{_ASK}"),
        ),
        constraint=_LAYOUT.constraint,
        max_tokens=_LAYOUT.max_tokens,
        top_logprobs=_TOP_LOGPROBS,
        affinity=nonce,  # all to one server, where there are several
    )


def _text(label: str, lines: int) -> str:
    return "\n".join(f"{label}: shelf {n} holds {n * n % 97} books on rivers" for n in range(lines))


def _shared_tokens(request: ChatRequest, shared: str, reply: ChatReply) -> int:
    """By characters, which is by tokens nearly, since both parts are of one kind."""
    length = sum(len(message.content) for message in request.messages)
    return round(reply.usage.prompt_tokens * (len(_SYSTEM) + len(shared)) / length)


def _cached(reply: ChatReply, before: PrefixCount | None, after: PrefixCount | None) -> Cached:
    """From the reply's usage, or else from what the counters gained."""
    if reply.usage.cached_tokens:
        return Cached(reply.usage.cached_tokens, "usage")
    if before is None or after is None:
        return Cached(None, None)
    gained = after.since(before)
    # More or fewer than this call's tokens: others were asking too, and the hits may be theirs.
    if gained.queried != reply.usage.prompt_tokens:
        return Cached(None, None)
    return Cached(gained.hit, "metrics")


def _violation(reply: ChatReply) -> str | None:
    try:
        read(reply, _LAYOUT)
    except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
        return str(error)
    return None
