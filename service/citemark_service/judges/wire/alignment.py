"""Making token texts join to the reply's text, which servers do not promise.

Byte-level tokenizers split a character over tokens, and a server that decodes each token alone
prints U+FFFD for the halves; end-of-turn tokens and the code fence around JSON are listed
although the text leaves them out.
"""

import re
from collections.abc import Sequence
from itertools import accumulate

from citemark_service.judges.chat import Token

_FENCE = re.compile(r"```[a-z]*\s*")
_HALF = "\N{REPLACEMENT CHARACTER}"


def aligned(tokens: Sequence[Token], content: str) -> tuple[Token, ...] | None:
    """The tokens with texts that join to `content`, or None where they cannot be matched.

    Tokens that are halves of characters become one token without alternatives; tokens after the
    end of the text are dropped. Linear in the length of both.
    """
    spelt = "".join([token.text for token in tokens])
    if spelt == content:
        return tuple(tokens)
    shown = [token for token in tokens if token.text]
    return _realigned(_unfenced(shown, spelt, content), content)


def _unfenced(tokens: Sequence[Token], spelt: str, content: str) -> Sequence[Token]:
    """The tokens behind an opening code fence that the text leaves out, as llama.cpp does."""
    fence = _FENCE.match(spelt)
    if fence is None or content.startswith(fence[0]):
        return tokens
    starts = list(accumulate((len(token.text) for token in tokens), initial=0))
    return tokens[starts.index(fence.end()) :] if fence.end() in starts else tokens


def _realigned(tokens: Sequence[Token], content: str) -> tuple[Token, ...] | None:
    found: list[Token] = []
    halves: list[Token] = []
    at = 0
    for token in tokens:
        if at == len(content) and not halves:
            break
        if _HALF in token.text:
            halves.append(token)
            continue
        start = _start(token.text, content, at, halves)
        if start is None:
            return None
        found += [*_merged(halves, content[at:start]), token]
        halves, at = [], start + len(token.text)
    found += _merged(halves, content[at:])
    whole = not halves or _fits(halves, content[at:])
    return tuple(found) if whole and (halves or at == len(content)) else None


def _start(text: str, content: str, at: int, halves: Sequence[Token]) -> int | None:
    """Where `text` goes on in `content` once the characters behind `halves` are passed over."""
    # A half prints as at least one character, so the whole ones are no more than the halves.
    last = at + sum(len(half.text) for half in halves)
    for start in range(at, last + 1):
        if content.startswith(text, start) and _fits(halves, content[at:start]):
            return start
    return None


def _fits(halves: Sequence[Token], piece: str) -> bool:
    """No ASCII may be passed over unseen: verdicts are ASCII and must keep their places."""
    return _ascii("".join([half.text for half in halves])) == _ascii(piece)


def _ascii(text: str) -> str:
    return "".join(filter(str.isascii, text))


def _merged(halves: Sequence[Token], text: str) -> list[Token]:
    return [Token(text, sum(half.logprob for half in halves))] if halves else []
