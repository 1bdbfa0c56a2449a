"""Splits uncited text into sentences with their spans, in linear time.

The judge decides which sentences state a fact. Only pieces that cannot are dropped here: without
letter or digit, list numbers, and connectives.
"""

import re
from collections.abc import Iterator, Sequence

from citemark_schemas import Span
from citemark_service.parsing.abbreviations import is_abbreviation
from citemark_service.parsing.connectives import is_connective
from citemark_service.parsing.parsed import Sentence
from citemark_service.parsing.visible import fold_space, has_content

_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
# Terminators with the closing quotes, brackets and "[1]" references that belong to the sentence.
_STOP = re.compile(
    r"[.!?…‥。！？｡]++(?:[\"'”’»›)\]}）」』】*_]|\[\d{1,3}(?:[,;–-]\s?\d{1,3}){0,8}\])*+"
)
_WIDE_STOPS = frozenset("。！？｡")
_NEXT = re.compile(r"\s*+[\"'“‘«(\[*_]*+(\w*+)")

# List, heading and quotation marks at the start of a line.
_MARKS = re.compile(
    r"(?:[ \t\u00a0]*+(?:#{1,6}|>|[-*+•‣◦▪●·–—]|\d{1,3}\.|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\))"
    r"[ \t\u00a0]++(?=\S))*+"
)
_NUMBERING = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\)|\[\d{1,3}\]")
_STEP = re.compile(r"\d{1,3}\.")
_LEADING = " \t\u00a0,;:)]}”’»"
_EMPHASIS = ("**", "__")


def split_sentences(text: str, stretches: Sequence[Span], block_end: int) -> tuple[Sentence, ...]:
    """The sentences of `text` in `stretches`, the spans outside claim tags, in order.

    A stretch that ends before `block_end` is followed by a claim tag. Spans of sentences are
    half-open; white space in their texts is folded.
    """
    return tuple(
        Sentence(text=fold_space(text[start:end]), span=(start, end))
        for stretch in stretches
        for start, end in _stating(text, stretch, before_claim=stretch[1] < block_end)
    )


def statements(text: str) -> int:
    """Number of sentences in `text`, at least 1."""
    return max(1, len(split_sentences(text, [(0, len(text))], len(text))))


def _stating(text: str, stretch: Span, *, before_claim: bool) -> Iterator[Span]:
    """Spans of the sentences of a stretch that may state something."""
    for line in _LINE.finditer(text, *stretch):
        shown_end = line.start() + len(line[0].rstrip())
        for start, end in _split_line(text, line.span()):
            followed = end < shown_end or (before_claim and line.end() == stretch[1])
            if _may_state(text[start:end], followed=followed):
                yield start, end


def _split_line(text: str, line: Span) -> Iterator[Span]:
    marks = _MARKS.match(text, *line)
    start = marks.end() if marks else line[0]
    for stop in _STOP.finditer(text, start, line[1]):
        if _ends(text, stop, line[1]):
            yield _trim(text, start, stop.end())
            start = stop.end()
    yield _trim(text, start, line[1])


def _trim(text: str, start: int, end: int) -> Span:
    piece = text[start:end].rstrip()
    bare = piece.lstrip(_LEADING)
    first, last = start + len(piece) - len(bare), start + len(piece)
    if len(bare) > 4 and bare[:2] in _EMPHASIS and bare[:2] == bare[-2:]:
        return first + 2, last - 2
    return first, last


def _may_state(piece: str, *, followed: bool) -> bool:
    if not has_content(piece) or _NUMBERING.fullmatch(piece):
        return False
    # "42." is a list number if something follows on its line, and an answer if nothing does.
    if followed and _STEP.fullmatch(piece):
        return False
    return not is_connective(piece)


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
    quoted_or_trailing = stop[0][-1] not in ".!?。！？｡" or stop[0].startswith("..")
    return not (quoted_or_trailing and word[:1].islower())
