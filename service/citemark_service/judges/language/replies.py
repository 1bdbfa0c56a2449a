"""Parsing a reply: every requested verdict, once and on its menu, or a typed error.

Nothing is repaired: a missing verdict taken as 0 would be full credit on a negative criterion.
Error messages name requested keys, never text of the reply.
"""

import json
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import contains
from typing import Any

from citemark_schemas import WarningKind
from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import ChatReply, Token
from citemark_service.judges.language.grammar import Field, Layout
from citemark_service.parsing.visible import compose, visible

_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"\s*({_STRING})\s*:\s*({_STRING}|-?\d+)\s*[,}}]")
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_MENUS = tuple("0123456789"[: top + 1] for top in range(10))
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


@dataclass(frozen=True, slots=True)
class ParsedReply:
    digits: Mapping[str, tuple[int, ...]]  # as written
    scores: Mapping[str, tuple[float, ...]]  # see `weigh_digit`
    variances: Mapping[str, tuple[float, ...] | None]  # of `scores`; None where one is unknown
    quotes: Mapping[str, str]
    weighed: bool  # whether the reply came with probabilities, usable or not
    cut: tuple[WarningKind, ...] = ()  # what the prompt did not hold whole

    def variance(self, key: str) -> float | None:
        variances = self.variances[key]
        return None if variances is None else variances[0]

    def caveats(self, key: str) -> tuple[WarningKind, ...]:
        unsure = self.weighed and self.variances[key] is None
        return (WarningKind.UNSURE, *self.cut) if unsure else self.cut


class _JsonObject(tuple[tuple[str, Any], ...]):
    """The pairs of a JSON object, repeated keys included; tells it from an array, a list."""

    __slots__ = ()


def parse_reply(reply: ChatReply, layout: Layout) -> ParsedReply:
    """Validate `reply` against `layout`.

    Raises:
        JudgeTruncated: the reply ended for length.
        JudgeUnreadable: it is empty, not JSON, of another shape, or was filtered.
        InvalidVerdict: a verdict is missing, repeated or off its menu.
    """
    values = _parse_object(reply, layout)
    verdicts = [field for field in layout.fields if field.tops]
    digits = {field.key: _parse_digits(field, values[field.key]) for field in verdicts}
    places = _find_digits(reply.content)
    tokens = None if reply.tokens is None else TokenMap(reply.content, reply.tokens)
    scores: dict[str, tuple[float, ...]] = {}
    variances: dict[str, tuple[float, ...] | None] = {}
    for field in verdicts:
        key, place = field.key, places.get(field.key)
        weighed = []
        for at, (digit, top) in enumerate(zip(digits[key], field.tops, strict=True)):
            found = tokens.find(place + at) if tokens and place is not None else None
            weighed.append(weigh_digit(digit, top, found))
        scores[key], each = zip(*weighed, strict=True)
        variances[key] = None if None in each else each
    quotes: dict[str, str] = {}
    for key in (field.key for field in layout.fields if not field.tops):
        if not isinstance(values[key], str):
            raise JudgeUnreadable(f"quote {key} is not a string")
        quotes[key] = values[key].strip()
    return ParsedReply(digits, scores, variances, quotes, reply.tokens is not None)


def _parse_object(reply: ChatReply, layout: Layout) -> dict[str, Any]:
    if reply.finish_reason == "length":
        raise JudgeTruncated("the reply ended for length")
    # Any other is some server's word for an end, as `eos_token`; what ended early lacks a key.
    if reply.finish_reason == "content_filter":
        raise JudgeUnreadable("the server's content filter ended the reply")
    if not reply.content.strip():
        raise JudgeUnreadable("the reply is empty")
    try:
        pairs = json.loads(reply.content, object_pairs_hook=_JsonObject)
    except (ValueError, RecursionError) as error:
        raise JudgeUnreadable("the reply is not JSON") from error
    if not isinstance(pairs, _JsonObject):
        raise JudgeUnreadable("the reply is not a JSON object")
    values = dict(pairs)
    if extra := len(values.keys() - layout.keys):
        raise JudgeUnreadable(f"the reply has {extra} keys that were not asked for")
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise InvalidVerdict(f"the reply gives {counts.most_common(1)[0][0]} more than once")
    if missing := [field.key for field in layout.fields if field.key not in values]:
        raise InvalidVerdict(f"the reply lacks {', '.join(missing)}")
    return values


def _parse_digits(field: Field, value: object) -> tuple[int, ...]:
    tops = field.tops
    # type() and not isinstance(): true is an int to Python, and 1.0 equals 1.
    written = value if len(tops) > 1 else str(value) if type(value) is int else None
    if not (
        isinstance(written, str)
        and len(written) == len(tops)
        # Faster than a regular expression, or a generator, for each verdict.
        and all(map(contains, map(_MENUS.__getitem__, tops), written))
    ):
        raise InvalidVerdict(f"verdict {field.key} is not on its menu")
    return tuple(map(int, written))


def _find_digits(content: str) -> dict[str, int]:
    """The offset of each value's first digit in a flat JSON object without escapes in keys."""
    places: dict[str, int] = {}
    position = content.find("{") + 1
    while match := _PAIR.match(content, position):
        places[match[1][1:-1]] = match.start(2) + match[2].startswith('"')
        position = match.end()
    return places


class TokenMap:
    def __init__(self, content: str, tokens: tuple[Token, ...]) -> None:
        texts = [token.text for token in tokens]
        self._tokens = tokens if "".join(texts) == content else None
        self._starts = tuple(accumulate(map(len, texts[:-1]), initial=0))

    def find(self, offset: int) -> tuple[Token, int] | None:
        """The token at `offset` and the offset within it; None where tokens and text differ."""
        index = bisect_right(self._starts, offset) - 1
        return (self._tokens[index], offset - self._starts[index]) if self._tokens else None


def weigh_digit(
    digit: int, top: int, place: tuple[Token, int] | None
) -> tuple[float, float | None]:
    """Mean of digit / `top` under the token's alternatives, in [0, 1], and its variance.

    The mean of a judge's verdict distribution agrees better with people than its mode does
    (https://arxiv.org/abs/2503.03064), and it breaks ties within a group. Probabilities are
    renormalised over the menu, since servers report them before the grammar's mask. The digit as
    written and None without a token, without alternatives, and where a digit of the menu has no
    finite probability.
    """
    logprobs = _weigh_menu(*place, top) if place else {}
    if digit not in logprobs:
        return digit / top, None
    highest = max(logprobs.values())  # subtracted, so that `exp` does not underflow to 0 / 0
    return weigh_levels({each: math.exp(logprobs[each] - highest) for each in logprobs}, top)


def weigh_levels(masses: Mapping[int, float], top: int) -> tuple[float, float]:
    """Mean of level / `top` under the levels' masses, which need not add up to 1, and variance."""
    total = mean = square = 0.0
    for level, mass in masses.items():
        total += mass
        mean += level * mass
        square += level * level * mass
    mean /= total
    return mean / top, max(0.0, square / total - mean * mean) / (top * top)


@lru_cache(maxsize=256)
def _menu(head: str, tail: str, top: int) -> Mapping[str, int]:
    """Token texts that differ in the digit only. Cached: most tokens are a digit alone."""
    return {f"{head}{value}{tail}": value for value in range(top + 1)}


def _weigh_menu(token: Token, place: int, top: int) -> dict[int, float]:
    """The log probability of each menu digit at offset `place` of the token; empty if unusable."""
    menu = _menu(token.text[:place], token.text[place + 1 :], top)
    alternatives = token.alternatives
    if not alternatives:
        return {}
    logprobs: dict[int, float] = {}
    for weighed in (token, *alternatives):
        if (value := menu.get(weighed.text)) is not None:
            logprob = weighed.logprob
            if logprob is None or not math.isfinite(logprob):
                return {}
            logprobs[value] = min(logprob, 0.0)  # a probability is at most 1
            if len(logprobs) == len(menu):  # no other alternative is on it
                break
    return logprobs


def _split_words(text: str) -> list[str]:
    """Case-folded words; Chinese, Japanese and Korean character by character."""
    return _WORD.findall(compose(text).casefold())


def find_quotes(text: str, quotes: Mapping[str, str]) -> dict[str, bool]:
    """Which of the quotes stand in `text`, under their keys; slow where the text is long."""
    passage = QuotedText(visible(text)) if quotes else None
    return {key: passage is not None and passage.holds(quote) for key, quote in quotes.items()}


class QuotedText:
    """A text to look for quotes in, in linear time.

    Case, white space, punctuation and quote marks are ignored, as copying changes them; long
    quotes may lack words.
    """

    def __init__(self, text: str) -> None:
        self._words = _split_words(text)
        self._joined = f" {' '.join(self._words)} "

    def holds(self, quote: str) -> bool:
        """Whether the text contains `quote`; False for one without words.

        Up to four words must follow each other exactly; of longer quotes, four fifths must be
        within a window of the quote's own length.
        """
        words = _split_words(quote)
        if not words:
            return False
        if f" {' '.join(words)} " in self._joined:
            return True
        return len(words) > 4 and self._overlap(words) >= 0.8

    def _overlap(self, words: Sequence[str]) -> float:
        """The largest share of `words`, as a multiset, in any window of their number."""
        missing = Counter(words)
        shared = best = 0
        for position, word in enumerate(self._words):
            shared += missing[word] > 0
            missing[word] -= 1
            if position >= len(words):
                leaving = self._words[position - len(words)]
                missing[leaving] += 1
                shared -= missing[leaving] > 0
            best = max(best, shared)
        return best / len(words)
