"""The lines of a Markdown text with what each of them is. Linear in the text."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from citemark_schemas import Span

_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_FENCE = re.compile(r"[ \t>]*+(`{3,}|~{3,})")
_HEADING = re.compile(r"[ \t>]*+#{1,6}(?=[ \t\u00a0])")
_UNDERLINE = re.compile(r"[ \t]*+={3,}[ \t]*+")
_FORMULA = re.compile(r"[ \t>]*+(\$\$|\\\[|\\begin\{)")
_FORMULA_ENDS = {"$$": "$$", "\\[": "\\]", "\\begin{": "\\end{"}
_INLINE_FORMULA = re.compile(r"[ \t>]*+\$(?!\s)[^$]++\$[ \t.,]*+")
_RULE = re.compile(r"(?=[ \t>|:–—]*+-)[ \t>|:–—-]++")
_CELL_EDGE = re.compile(r"\\.|\|")


class LineKind(Enum):
    TEXT = "text"
    HEADING = "heading"
    HEADER = "header"  # of a table
    ROW = "row"
    CODE = "code"
    FORMULA = "formula"


class Line(NamedTuple):
    start: int
    end: int
    kind: LineKind


def read_lines(text: str, block: Span) -> list[Line]:
    """The lines of `text[block]` that are not empty, in order.

    A fence or formula that never closes is text, so that no line can hide what follows.
    """
    found = list(_LINE.finditer(text, *block))
    shown = [match[0] for match in found]
    kinds = [LineKind.TEXT] * len(found)
    for first, last, kind in _enclosures(shown):
        kinds[first:last] = [kind] * (last - first)
    for at, line in enumerate(shown):
        if kinds[at] is not LineKind.TEXT:
            continue
        if _HEADING.match(line) or (
            at + 1 < len(shown) and _UNDERLINE.fullmatch(shown[at + 1]) and "|" not in line
        ):
            kinds[at] = LineKind.HEADING
        elif _INLINE_FORMULA.fullmatch(line):
            kinds[at] = LineKind.FORMULA
        elif "|" in line and _is_row(shown, kinds, at):
            rule = at + 1 < len(shown) and _RULE.fullmatch(shown[at + 1]) and "|" in shown[at + 1]
            kinds[at] = LineKind.HEADER if rule else LineKind.ROW
    return [Line(*match.span(), kind) for match, kind in zip(found, kinds, strict=True)]


def cell_spans(text: str, start: int, end: int) -> Iterator[Span]:
    """The cells of a table's line or a part of it, empty ones too; bars escaped by \\ are text."""
    first = start
    for edge in _CELL_EDGE.finditer(text, start, end):
        if edge[0] == "|":
            # What stands before a line's first bar is no cell.
            if first > start or text[first : edge.start()].strip(" \t>"):
                yield first, edge.start()
            first = edge.end()
    if first < end:
        yield first, end


def _is_row(shown: Sequence[str], kinds: Sequence[LineKind], at: int) -> bool:
    """Whether a line with a bar belongs to a table."""
    line = shown[at].strip(" \t>")
    if line.startswith("|") and (line.endswith("|") or line.count("|") > 1):
        return True
    if at + 1 < len(shown) and "|" in shown[at + 1] and _RULE.fullmatch(shown[at + 1]):
        return True
    # Without bars at its ends, it is a row only within a table.
    return at > 0 and (
        kinds[at - 1] is LineKind.ROW
        or (kinds[at - 1] is LineKind.HEADER and _RULE.fullmatch(line) is not None)
    )


def _enclosures(shown: Sequence[str]) -> Iterator[tuple[int, int, LineKind]]:
    """First line, line behind the last, and kind of what is fenced; fences belong to it."""
    # Where the next closer of each kind stands, so that an unclosed one costs no second search.
    closers: dict[str, list[int]] = {mark: [] for mark in ("```", "~~~", *_FORMULA_ENDS.values())}
    for at in range(len(shown) - 1, -1, -1):
        for mark, places in closers.items():
            if mark in shown[at]:
                places.append(at)
    at = 0
    while at < len(shown):
        opening = _FENCE.match(shown[at]) or _FORMULA.match(shown[at])
        if opening is None:
            at += 1
            continue
        mark = opening[1][:3] if opening[1][0] in "`~" else opening[1]
        end = _FORMULA_ENDS.get(mark, mark)
        kind = LineKind.FORMULA if mark in _FORMULA_ENDS else LineKind.CODE
        last = at if end in shown[at][opening.end() :] else None
        places = closers[end]
        while last is None and places and places[-1] <= at:
            places.pop()
        if last is None and places:
            last = places[-1]
        if last is None:
            at += 1
            continue
        yield at, last + 1, kind
        at = last + 1
