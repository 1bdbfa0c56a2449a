"""Does the judge's server do what the service relies on? Two calls find out.

Both ask for prose under the grammar of verdicts, so that a server which ignores the grammar is
seen. They share a long beginning and differ in a long end, as two samples of a group do. The
same prompt twice would tell nothing: a hybrid model without dense retention keeps the state at
the last block boundary of each prompt, finds it for a repeated prompt and never for a group.
"""

import time
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import Chat, ChatReply, ChatRequest, Message
from citemark_service.judges.grammar import Layout, criteria_layout
from citemark_service.judges.prefix_metrics import PrefixCount
from citemark_service.judges.protocol import Meter
from citemark_service.judges.replies import read

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
    """What was found. Token counts are of the second call."""

    grammar: str | None
    """Why a reply is not what the grammar allows; None where both are."""
    logprobs: bool
    """Whether verdicts can be weighted by probability."""
    prompt_tokens: int
    shared_tokens: int
    """About how many of them the first call had as well."""
    cached_tokens: int | None
    """None where the server neither says nor counts."""
    source: Source | None
    """Who told `cached_tokens`."""
    seconds: tuple[float, float]
    """How long each call took."""

    @property
    def cached_share(self) -> float | None:
        """Of the shared tokens, in [0, 1]; None where it is not known."""
        if self.cached_tokens is None or not self.shared_tokens:
            return None
        return min(1.0, self.cached_tokens / self.shared_tokens)


async def probe(
    chat: Chat,
    *,
    nonce: str,
    counters: Counters | None,
    deadline: float | None,
    lines: int = SHARED_LINES,
) -> ProbeReport:
    """Ask twice and compare.

    Args:
        nonce: starts the shared text, so that nothing of an earlier probe is in the cache.
        counters: asked where the replies do not tell of cached tokens.
        deadline: `time.monotonic()` value for both calls together, None for none.
        lines: length of the shared part, each line about 21 tokens.

    Raises:
        JudgeError: as `Chat.complete`; a reply against the grammar is in the report instead.
    """
    first, first_s = await _timed(chat, _request(nonce, lines, 0), deadline)
    before = await counters.read() if counters else None
    request = _request(nonce, lines, 1)
    second, second_s = await _timed(chat, request, deadline)
    after = await counters.read() if counters else None
    cached, source = _cached(second, before, after)
    return ProbeReport(
        grammar=_violation(first) or _violation(second),
        logprobs=second.tokens is not None,
        prompt_tokens=second.usage.prompt_tokens,
        shared_tokens=_shared_tokens(request, _text(nonce, lines), second),
        cached_tokens=cached,
        source=source,
        seconds=(first_s, second_s),
    )


async def _timed(
    chat: Chat, request: ChatRequest, deadline: float | None
) -> tuple[ChatReply, float]:
    start = time.perf_counter()
    reply = await chat.complete(request, meter=Meter(), deadline=deadline)
    return reply, time.perf_counter() - start


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
    )


def _text(label: str, lines: int) -> str:
    return "\n".join(f"{label}: shelf {n} holds {n * n % 97} books on rivers" for n in range(lines))


def _shared_tokens(request: ChatRequest, shared: str, reply: ChatReply) -> int:
    """By characters, which is by tokens nearly, since both parts are of one kind."""
    length = sum(len(message.content) for message in request.messages)
    return round(reply.usage.prompt_tokens * (len(_SYSTEM) + len(shared)) / length)


def _cached(
    reply: ChatReply, before: PrefixCount | None, after: PrefixCount | None
) -> tuple[int | None, Source | None]:
    """Cached tokens of the reply, from its usage or else from what the counters gained."""
    if reply.usage.cached_tokens:
        return reply.usage.cached_tokens, "usage"
    if before is None or after is None:
        return None, None
    gained = after.since(before)
    # More or fewer than this call's tokens: others were asking too, and the hits may be theirs.
    return (gained.hit, "metrics") if gained.queried == reply.usage.prompt_tokens else (None, None)


def _violation(reply: ChatReply) -> str | None:
    try:
        read(reply, _LAYOUT)
    except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
        return str(error)
    return None
