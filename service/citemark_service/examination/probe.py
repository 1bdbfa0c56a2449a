"""Does the judge's server do what the service relies on? Three calls find out.

All ask for prose under the grammar of verdicts, so that a server which ignores the grammar is
seen. They share a long beginning and differ in a long end, as the samples of a group do. The
same prompt twice would tell nothing: of a hybrid model vLLM keeps the recurrent state where a
step of its scheduler ends, which lies in what a prompt has for itself. It finds that state for a
repeated prompt and never for a group; only where a second prompt is seen to part from a first
one does it keep a state for the third.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.examination.counters import PrefixCount
from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.language.grammar import criteria_layout
from citemark_service.judges.language.replies import parse_reply
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.tasks import Meter

_LAYOUT: Final = criteria_layout(2, quotes=False)
_SYSTEM: Final = "You describe shelves in plain prose."
_ASK: Final = "Describe the first shelf in two sentences of plain prose, without any digit."
SHARED_LINES: Final = 140
"""About 2,900 tokens; with half as many for the own part, each is longer than one block of the
hybrid models known."""

ReadCount = Callable[[], Awaitable[PrefixCount | None]]


class CachedTokens(NamedTuple):
    """How many tokens of a prompt the server had in its cache, and who says so."""

    tokens: int | None = None
    """None where the server neither says nor counts."""
    source: Literal["usage", "metrics"] | None = None
    """The reply's usage, or the server's own counters."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What three calls found."""

    grammar: str | None
    """Why a reply is not what the grammar allows; None where all are."""
    logprobs: bool
    """Whether verdicts can be weighted by probability."""
    prompt_tokens: int
    """Of each call, as of the others."""
    shared_tokens: int
    """About how many of them all calls have."""
    second: CachedTokens
    third: CachedTokens
    """What the rest of a group gets."""
    seconds: tuple[float, ...]
    """How long each call took."""

    @property
    def cached_share(self) -> float | None:
        """Of the shared tokens of the third call, in [0, 1]; None where it is not known."""
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
    """Ask three times and compare.

    Args:
        nonce: starts the shared text, so that nothing of an earlier probe is in the cache.
        read_count: asked where the replies do not tell of cached tokens.
        deadline: `time.monotonic()` value for all calls together, None for none.
        lines: length of the shared part, each line about 21 tokens.

    Raises:
        JudgeError: as `JudgePool.complete`; a reply against the grammar is in the report instead.
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
    # By characters, which is by tokens nearly, since both parts are of one kind.
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
    """From the reply's usage, or else from what the counters gained."""
    if reply.usage.cached_tokens:
        return CachedTokens(reply.usage.cached_tokens, "usage")
    # More or fewer than this call's tokens: others were asking too, and the hits may be theirs.
    if not before or not after or after.queried - before.queried != reply.usage.prompt_tokens:
        return CachedTokens()
    return CachedTokens(after.hit - before.hit, "metrics")


def _find_violation(reply: ChatReply) -> str | None:
    try:
        parse_reply(reply, _LAYOUT)
    except (JudgeTruncated, JudgeUnreadable, InvalidVerdict) as error:
        return str(error)
    return None
