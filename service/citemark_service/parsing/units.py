"""Splits the text outside claims into units: sentences, list items and table rows.

The judge decides which units state a fact. Only what cannot is dropped here: pieces without letter
or digit, list numbers, connectives, and labels (see `labels`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from citemark_schemas import Span
from citemark_service.parsing.connectives import is_connective
from citemark_service.parsing.labels import is_label, is_lead_in
from citemark_service.parsing.lines import Line, LineKind, cell_spans, read_lines
from citemark_service.parsing.parsed import Sentence
from citemark_service.parsing.sentences import cut_sentences, trim
from citemark_service.parsing.visible import fold_space, has_content, normal_form

_NUMBERING = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})\)|\[\d{1,3}\]")
_STEP = re.compile(r"\d{1,3}\.")
_BLANK = re.compile(r"[ \t*_]*+")
_BOLD = re.compile(r"(\*\*|__)(?!\s)[^*_]++\1[ \t:：–—-]*+")
LIST_TITLES = frozenset(
    {
        "references",
        "sources",
        "bibliography",
        "citations",
        "footnotes",
        "works cited",
        "quellen",
        "literatur",
    }
)
_FENCE_EDGES = "`~$ \t"


class Unit(NamedTuple):
    """A stretch that may state something, and the line that it is in."""

    start: int
    end: int
    line: Line


class _Part(NamedTuple):
    """What of one line is outside claims, up to the next claim or the line's end."""

    start: int
    end: int
    alone: bool  # it is the whole line
    before_claim: bool


def split_units(text: str, lines: Sequence[Line], stretches: Sequence[Span]) -> Iterator[Unit]:
    """The units of the lines in `stretches`, the spans outside claims, in order."""
    at, last = 0, lines[-1].end if lines else 0
    for line in lines:
        while at < len(stretches) and stretches[at][1] <= line.start:
            at += 1
        place = at
        while place < len(stretches) and stretches[place][0] < line.end:
            stretch = stretches[place]
            start, end = max(stretch[0], line.start), min(stretch[1], line.end)
            alone = (start, end) == (line.start, line.end)
            before_claim = end == stretch[1] and end < last
            for span in _find_units(text, line, _Part(start, end, alone, before_claim)):
                yield Unit(*span, line)
            place += 1


def to_sentences(text: str, units: Iterable[Unit]) -> tuple[Sentence, ...]:
    """The units with their texts, white space folded; of equal ones the first, so that a repeated
    fact counts once."""
    first: dict[str, Sentence] = {}
    for unit in units:
        shown = fold_space(text[unit.start : unit.end])
        first.setdefault(normal_form(shown), Sentence(shown, (unit.start, unit.end)))
    return tuple(first.values())


def statements(text: str) -> int:
    """Number of units in `text`, at least 1."""
    whole = (0, len(text))
    return max(1, sum(1 for _ in split_units(text, read_lines(text, whole), [whole])))


def _find_units(text: str, line: Line, part: _Part) -> Iterator[Span]:
    if line.kind in (LineKind.HEADER, LineKind.ROW):
        yield from _cut_row(text, line, part)
    elif line.kind in (LineKind.CODE, LineKind.FORMULA):
        start, end = trim(text, part.start, part.end)
        shown = text[start:end].strip(_FENCE_EDGES)
        if has_content(shown) and not is_label(shown):
            yield start, end
    else:
        shown_end = part.start + len(text[part.start : part.end].rstrip())
        for start, end in cut_sentences(text, part.start, part.end):
            followed = end < shown_end or part.before_claim
            if _may_state(text[start:end], followed=followed) and not _only_leads(
                text, line, part, start, end
            ):
                yield start, end


def _only_leads(text: str, line: Line, part: _Part, start: int, end: int) -> bool:
    """Whether a sentence is a label, or only leads to what follows behind its colon."""
    piece = text[start:end]
    if line.kind is LineKind.HEADING:
        return is_label(piece)
    # Not by a slice: a long line has as many sentences as it has rests of lines.
    if (blank := _BLANK.match(text, end, part.end)) and blank.end() < part.end:
        return False
    if piece.rstrip("*_").endswith((":", "：")):
        return is_label(piece) or (not part.before_claim and is_lead_in(piece))
    if part.alone and piece.lower() in LIST_TITLES:
        return True
    bold = text[start - 2 : start] in ("**", "__") and text[end : end + 2] in ("**", "__")
    return (bold or _BOLD.fullmatch(piece) is not None) and is_label(piece)


def _cut_row(text: str, line: Line, part: _Part) -> Iterator[Span]:
    """A whole row is one unit; beside claims, and in a table's header, each cell is one."""
    cells = [trim(text, *cell) for cell in cell_spans(text, part.start, part.end)]
    cells = [cell for cell in cells if has_content(text[slice(*cell)])]
    if line.kind is LineKind.ROW and part.alone and len(cells) > 1:
        yield cells[0][0], cells[-1][1]
        return
    yield from (cell for cell in cells if states_in_cell(text[slice(*cell)], line.kind))


def states_in_cell(cell: str, kind: LineKind) -> bool:
    """Whether a cell beside claims, or in a table's header, states something."""
    value = kind is LineKind.ROW and any(map(str.isdigit, cell))
    return (value or not is_label(cell)) and not is_connective(cell)


def _may_state(piece: str, *, followed: bool) -> bool:
    if not has_content(piece) or _NUMBERING.fullmatch(piece):
        return False
    # "42." is a list number if something follows on its line, and an answer if nothing does.
    if followed and _STEP.fullmatch(piece):
        return False
    return not is_connective(piece)
