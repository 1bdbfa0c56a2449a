"""Texts as a hash. Pure."""

import hashlib
from collections.abc import Iterator

from citemark_schemas import Rollout

_BYTES = 32
_ROLLOUT_BYTES = 16


def framed(*texts: str | None) -> bytes:
    """The texts in one piece that no other texts, however divided, make; None is not empty."""
    pieces = ["-" if text is None else f"{len(text)}:{text}" for text in texts]
    return "".join(pieces).encode(errors="surrogatepass")


def fingerprint(*texts: str) -> bytes:
    """BLAKE2b over texts: no other texts, however divided, give the same 32 bytes."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for text in texts:  # one by one, since sources may be megabytes: no joined copy is made
        data = text.encode(errors="surrogatepass")
        state.update(b"%d:" % len(data))
        state.update(data)
    return state.digest()


def rollout_hash(rollout: Rollout) -> str:
    """`ScoreResult.rollout_hash`: neither id, knobs and metadata nor the shape in which rubrics
    were given count; whether a field was left out or empty does."""
    return hashlib.blake2b(framed(*_judged(rollout)), digest_size=_ROLLOUT_BYTES).hexdigest()


def _judged(rollout: Rollout) -> Iterator[str | None]:
    """What is judged, in an order that only this rollout has: lists are counted or come last."""
    yield from (rollout.question, rollout.tool_output, rollout.response, rollout.finish_reason)
    yield None if rollout.snippets is None else str(len(rollout.snippets))
    for snippet in rollout.snippets or ():
        yield from (snippet.id, snippet.text, snippet.paper_id)
    for criterion in rollout.criteria:
        yield from (*criterion.key, repr(criterion.weight))
