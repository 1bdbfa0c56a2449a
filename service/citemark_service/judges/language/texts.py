"""Neutralizing texts for a prompt and cutting them to a budget. Pure.

Cuts are visible and deterministic. Budgets are in UTF-8 bytes, which bound tokens in every
script (a token has at least one byte): a character of Chinese costs as many tokens as four of
English.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from itertools import pairwise

from citemark_service.parsing.visible import odd_characters, visible

# What `neutral` may change: all but printable ASCII and line feeds, angle and square brackets,
# and runs of white space.
_SUSPECT = re.compile(r"[^ -;=?-~\n]|\[|\s\s")
_LINE_BREAK = re.compile("[\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CHAT_TOKEN = re.compile(r"\[(?=/?[A-Za-z_]{3,24}\])")
_BLANK_RUN = re.compile(r"[ \t\u00a0]{3,}")
_BLANKS = ("   ", "\t", "\u00a0")
_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")

_MARK_BYTES = 40  # of `clip`'s marker, at most
_GAP = " […] "
_WORD = re.compile(r"\w+")
# Blocks of at most 240 characters, which end at white space where there is any.
_BLOCK = re.compile(r"(?s).{1,240}(?:\s+|$)|.{240}")


def neutral(text: str) -> str:
    """`text` without tags, chat tokens and invisible characters, in linear time.

    Angle brackets become `‹›`, so that every `<` of a prompt is the template's own. Control,
    zero-width and bidirectional characters and lone surrogates are removed; of the white space
    line feeds, tabs and spaces stay, in short runs. `[INST]`-like tokens get a space.
    """
    if not _SUSPECT.search(text):  # one pass instead of seven for most texts
        return text
    odd = odd_characters(text)
    if _SURROGATE.search(odd) or _LINE_BREAK.search(odd):
        text = _SURROGATE.sub("", text).replace("\r\n", "\n")
        text = _LINE_BREAK.sub("\n", text)
    text = visible(text)
    text = text.replace("<", "‹").replace(">", "›")  # on such text 30 times as fast as translate
    text = _CHAT_TOKEN.sub("[ ", text)
    if any(blank in text for blank in _BLANKS):  # cheaper than the pattern, which needs one
        text = _BLANK_RUN.sub("  ", text)
    return _EMPTY_LINES.sub("\n\n", text)


def neutral_line(text: str) -> str:
    """Neutral `text` on one line, so that it cannot begin a numbered item of its own."""
    return " ".join(neutral(text).split())


def size(text: str) -> int:
    """Length in UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode())


def most_bytes(text: str) -> int:
    """An upper bound of the size of `neutral(text)`, in a tenth of its time."""
    raw = text.encode(errors="surrogatepass")
    return len(raw) + 2 * (raw.count(b"<") + raw.count(b">")) + raw.count(b"[")


def fair_cap(sizes: Iterable[int], total: int) -> int:
    """The largest cap under which the capped `sizes` sum to at most `total` (max-min fairness)."""
    waiting = sorted(sizes)
    for done, smallest in enumerate(waiting):
        share = total // (len(waiting) - done)
        if smallest > share:
            return share
        total -= smallest
    return waiting[-1] if waiting else total


def clip(text: str, budget: int) -> str:
    """Head and tail of `text` with the number of characters cut between them.

    At most `budget` bytes, or the marker's 40 where `budget` is less.
    """
    if size(text) <= budget:
        return text
    raw = text.encode()  # cut by bytes; a character that a cut splits is dropped
    room = max(0, budget - _MARK_BYTES)
    head = raw[: room * 2 // 3].decode(errors="ignore")
    tail = raw[len(raw) - room // 3 :].decode(errors="ignore")
    return f"{head} [… {len(text) - len(head) - len(tail)} characters cut …] {tail}".strip()


def clip_turns(turns: Sequence[tuple[str, str]], budget: int) -> list[tuple[str, str]]:
    """The latest turns, each a role and a text, in at most about `budget` bytes.

    The earliest of them is clipped to what is left, and says how many came before it.
    """
    kept: list[tuple[str, str]] = []
    for at in range(len(turns) - 1, -1, -1):
        role, text = turns[at]
        room = budget - size(role) - _MARK_BYTES
        if room < _MARK_BYTES and kept:
            role, text = kept[0]
            kept[0] = (role, f"[… {at + 1} earlier turns cut …]\n{text}")
            break
        kept.insert(0, (role, clip(text.strip(), room)))
        budget = room - size(kept[0][1])
    return kept


def find_terms(texts: Iterable[str]) -> frozenset[str]:
    """Case-folded words of three or more characters, and numbers of any length."""
    words = (word for text in texts for word in _WORD.findall(text.casefold()))
    return frozenset(word for word in words if len(word) > 2 or word.isdigit())


def excerpt(text: str, terms: Set[str], budget: int) -> str:
    """The blocks of `text` with the most and the rarest of `terms`, in text order.

    Gaps show as `[…]`; without any match the beginning is taken. At most `budget` bytes (see
    `clip` for tiny ones).
    """
    if size(text) <= budget:
        return text
    blocks = [block.strip() for block in _BLOCK.findall(text)]
    gap = size(_GAP)
    room = budget - 2 * gap  # those at the ends
    kept: list[int] = []
    for number in _rank_blocks(blocks, terms):
        room -= size(blocks[number]) + gap
        if room < 0:
            break
        kept.append(number)
    if not kept:
        return clip(text, budget)
    kept.sort()
    parts = [_GAP.lstrip() if kept[0] else "", blocks[kept[0]]]
    for previous, number in pairwise(kept):
        parts += [" " if previous + 1 == number else _GAP, blocks[number]]
    if kept[-1] < len(blocks) - 1:
        parts.append(_GAP.rstrip())
    return "".join(parts)


def _rank_blocks(blocks: Sequence[str], terms: Set[str]) -> list[int]:
    """Block numbers by inverse document frequency of their terms, best first."""
    found = [terms & set(_WORD.findall(block.casefold())) for block in blocks]
    seen_in = Counter(term for hits in found for term in hits)
    # Sorted: a sum of floats depends on its order, and a set's order differs between processes.
    own = [sum(math.log1p(len(blocks) / seen_in[term]) for term in sorted(hits)) for hits in found]
    # A block next to a good one is likely to continue it.
    near = [
        score + (left + right) / 2
        for score, left, right in zip(own, [0.0, *own[:-1]], [*own[1:], 0.0], strict=True)
    ]
    return sorted(range(len(blocks)), key=lambda number: (-near[number], number))
