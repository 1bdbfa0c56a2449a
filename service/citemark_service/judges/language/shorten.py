"""Fitting text into a budget, visibly and deterministically.

Budgets are in UTF-8 bytes: tokens follow bytes in every script (a token has at least one byte),
while a character of Chinese costs as many tokens as four of English.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set

_MARK_BYTES = 40
_BLOCK_CHARS = 240
_GAP = " […] "
_WORD = re.compile(r"\w+")
_BLOCK = re.compile(rf"(?s).{{1,{_BLOCK_CHARS}}}(?:\s+|$)|.{{{_BLOCK_CHARS}}}")


def size(text: str) -> int:
    """Length in UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode())


def clip(text: str, budget: int) -> str:
    """Head and tail of `text` with the number of characters cut between them.

    The result has at most `budget` bytes, or the marker's 40 where `budget` is less.
    """
    if size(text) <= budget:
        return text
    raw = text.encode()
    room = max(0, budget - _MARK_BYTES)
    head = raw[: room * 2 // 3].decode(errors="ignore")
    tail = raw[len(raw) - room // 3 :].decode(errors="ignore")
    return f"{head} [… {len(text) - len(head) - len(tail)} characters cut …] {tail}".strip()


def terms_of(texts: Iterable[str]) -> frozenset[str]:
    """Case-folded words and numbers worth looking for: those of three characters, and digits."""
    words = (word for text in texts for word in _WORD.findall(text.casefold()))
    return frozenset(word for word in words if len(word) > 2 or word.isdigit())


def excerpt(text: str, terms: Set[str], budget: int) -> str:
    """The blocks of `text` that hold the most, and the rarest, of `terms`, in text order.

    Neighbours of a good block count as half as good, gaps show as `[…]`, and without any match
    the beginning is taken. The result has at most `budget` bytes (see `clip` for tiny ones).
    """
    if size(text) <= budget:
        return text
    blocks = [block.strip() for block in _BLOCK.findall(text)]
    kept = _affordable(blocks, _by_score(blocks, terms), budget)
    return _joined(blocks, kept) if kept else clip(text, budget)


def _by_score(blocks: Sequence[str], terms: Set[str]) -> list[int]:
    """Block numbers, best first; equal ones in text order."""
    found = [terms & set(_WORD.findall(block.casefold())) for block in blocks]
    seen_in = Counter(term for hits in found for term in hits)
    own = [sum(math.log1p(len(blocks) / seen_in[term]) for term in sorted(hits)) for hits in found]
    near = [
        score + (left + right) / 2
        for score, left, right in zip(own, [0.0, *own[:-1]], [*own[1:], 0.0], strict=True)
    ]
    return sorted(range(len(blocks)), key=lambda number: (-near[number], number))


def _affordable(blocks: Sequence[str], order: Sequence[int], budget: int) -> list[int]:
    """The first of `order` that fit together, in text order; two gaps are paid for once."""
    gap = size(_GAP)
    room = budget - 2 * gap
    kept: list[int] = []
    for number in order:
        room -= size(blocks[number]) + gap
        if room < 0:
            break
        kept.append(number)
    return sorted(kept)


def _joined(blocks: Sequence[str], kept: Sequence[int]) -> str:
    parts = [_GAP.lstrip()] if kept[0] > 0 else []
    for previous, number in zip([None, *kept[:-1]], kept, strict=True):
        if previous is not None:
            parts.append(" " if previous + 1 == number else _GAP)
        parts.append(blocks[number])
    if kept[-1] < len(blocks) - 1:
        parts.append(_GAP.rstrip())
    return "".join(parts)


def fair_cap(sizes: Iterable[int], total: int) -> int:
    """The largest common cap under which `sizes` sum to at most `total`.

    What small texts leave unused goes to the large ones (max-min fairness).
    """
    waiting = sorted(sizes)
    for done, smallest in enumerate(waiting):
        share = total // (len(waiting) - done)
        if smallest > share:
            return share
        total -= smallest
    return waiting[-1] if waiting else total
