"""Cuts text into sentences, in linear time."""

import re
from collections.abc import Iterator

from citemark_schemas import Span
from citemark_service.parsing.abbreviations import is_abbreviation

# Terminators with the closing quotes, brackets and "[1]" references that belong to the sentence.
_STOP = re.compile(
    r"[.!?…‥。！？｡؟۔।॥։።]++"
    r"(?:[\"'”’»›)\]}）」』】*_]|\[\d{1,3}(?:[,;–-]\s?\d{1,3}){0,8}\])*+"
)
_WIDE_STOPS = frozenset("。！？｡؟۔।॥።")  # they end a sentence without a space behind, too
_NEXT = re.compile(r"\s*+[\"'“‘«(\[*_¿¡„]*+(\w\.|\w*+)")

# List, heading and quotation marks at the start of a line.
_MARKS = re.compile(
    r"(?:[ \t\u00a0]*+(?:#{1,6}|>|[-*+•‣◦▪●·–—]|\d{1,3}\.|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\))"
    r"[ \t\u00a0]++(?=\S))*+"
)
_LEADING = " \t\u00a0,;:)]}”’»"
_EMPHASIS = ("**", "__")


def cut_sentences(text: str, start: int, end: int) -> Iterator[Span]:
    """The sentences of `text[start:end]`, which is within one line, without marks before them."""
    marks = _MARKS.match(text, start, end)
    start = marks.end() if marks else start
    for stop in _STOP.finditer(text, start, end):
        if _ends(text, stop, end):
            yield trim(text, start, stop.end())
            start = stop.end()
    yield trim(text, start, end)


def trim(text: str, start: int, end: int) -> Span:
    """The span without white space and stray punctuation before it, or emphasis around it."""
    piece = text[start:end].rstrip()
    bare = piece.lstrip(_LEADING)
    first, last = start + len(piece) - len(bare), start + len(piece)
    if len(bare) > 4 and bare[:2] in _EMPHASIS and bare[:2] == bare[-2:]:
        return first + 2, last - 2
    return first, last


def _ends(text: str, stop: re.Match[str], line_end: int) -> bool:
    """Whether a run of terminators ends its sentence."""
    if stop.end() == line_end:
        return True
    # Without a space behind, only full-width stops end a sentence: "3.5", "example.org".
    if not text[stop.end()].isspace():
        return not _WIDE_STOPS.isdisjoint(stop[0])
    following = _NEXT.match(text, stop.end(), line_end)
    word = following[1] if following else ""
    if stop[0] == ".":
        return not is_abbreviation(text, stop.start(), word)
    # Lower case continues a sentence only after a closing quote or an ellipsis. Were it always so,
    # a policy could write in lower case to have many facts counted as one.
    quoted_or_trailing = stop[0][-1] not in ".!?。！？｡؟۔।॥։።" or stop[0].startswith("..")
    return not (quoted_or_trailing and word[:1].islower())
