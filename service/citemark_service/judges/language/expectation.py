"""A verdict's score: the probability-weighted mean over the offered digits.

The mean of a judge's verdict distribution agrees better with people than its mode does
(https://arxiv.org/abs/2503.03064), and it breaks ties within a group.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Self

from citemark_service.judges.chat import Token

_MENUS_KEPT = 256


class TokenMap:
    """Finds the token that holds a character of the reply's content."""

    def __init__(self, tokens: tuple[Token, ...], starts: tuple[int, ...]) -> None:
        self._tokens = tokens
        self._starts = starts

    @classmethod
    def over(cls, content: str, tokens: tuple[Token, ...] | None) -> Self | None:
        """Tokens that spell the content; None where there are none, or they spell another text."""
        texts = [token.text for token in tokens or ()]
        if not tokens or "".join(texts) != content:
            return None
        return cls(tokens, tuple(accumulate(map(len, texts[:-1]), initial=0)))

    def at(self, offset: int) -> tuple[Token, int]:
        """The token that holds the character at `offset`, and its place within the token."""
        index = bisect_right(self._starts, offset) - 1
        return self._tokens[index], offset - self._starts[index]


def expected_score(digit: int, top: int, tokens: TokenMap | None, offset: int | None) -> float:
    """The mean of 0…`top` under the token's alternatives, over `top`: in [0, 1].

    Only alternatives that differ from the chosen token in nothing but this digit count, and
    only digits on the menu, renormalised: servers give probabilities before the grammar's mask.
    Without usable probabilities it is `digit / top`.
    """
    if tokens is None or offset is None:
        return digit / top
    logprobs = _offered(*tokens.at(offset), top)
    if digit not in logprobs or len(logprobs) == 1:
        return digit / top
    highest = max(logprobs.values())
    total = weighted = 0.0
    for value, logprob in logprobs.items():
        mass = math.exp(logprob - highest)
        total += mass
        weighted += value * mass
    return min(max(weighted / total, min(logprobs)), max(logprobs)) / top


@lru_cache(maxsize=_MENUS_KEPT)
def _menu(head: str, tail: str, top: int) -> Mapping[str, int]:
    """The texts that differ in the digit alone; most tokens are a digit and nothing else."""
    return {f"{head}{value}{tail}": value for value in range(top + 1)}


def _offered(token: Token, place: int, top: int) -> dict[int, float]:
    """Each menu digit that the server weighed in this place, with its log probability."""
    menu = _menu(token.text[:place], token.text[place + 1 :], top)
    return {
        menu[weighed.text]: min(weighed.logprob, 0.0)
        for weighed in (*token.alternatives, token)
        if weighed.text in menu and math.isfinite(weighed.logprob)
    }
