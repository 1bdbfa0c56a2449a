"""Parses the claims of an answer with numbered markers.

A claim is the sentence, list item or table cell before its markers; a sentence with markers at
several places is one claim that cites them all. A cell is read with the first cell of its row and
the titles of their columns, since a cell alone says nothing.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from citemark_schemas import Span
from citemark_service.parsing.lines import Line, LineKind, cell_spans
from citemark_service.parsing.markers import LEADS, Marker
from citemark_service.parsing.parsed import Claim, Mark, Reading
from citemark_service.parsing.sentences import cut_sentences, trim
from citemark_service.parsing.tagged import merge_equal
from citemark_service.parsing.units import Unit, split_units, states_in_cell, to_sentences
from citemark_service.parsing.visible import fold_space, has_content

_CUT = "\0"  # stands for a marker while a text is put together
_EMPTIED = re.compile(
    rf" ?[(\[]{LEADS}{_CUT}[{_CUT} ,;]*+[)\]]"
    rf"| ?(?<!\S)(?P<mark>[*_]{{1,3}}){_CUT}[{_CUT} ,;]*+(?P=mark)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Stated:
    """A unit and the markers behind it."""

    unit: Unit
    text: str
    markers: list[Marker] = field(default_factory=list)

    @property
    def span(self) -> Span:
        """The unit with its markers, and with the bracket of a link at its start."""
        edges = [(marker.start, marker.end) for marker in self.markers]
        first = min(edges)[0] if edges and self.markers[0].shown else self.unit.start
        return min(first, self.unit.start), max([self.unit.end, *(end for _, end in edges)])


def read_numbered(
    text: str, block: Span, lines: Sequence[Line], markers: Sequence[Marker]
) -> Reading:
    """Parse `text[block]` with its markers; spans are positions in `text`. Never raises."""
    reader = _Reader(text, block, lines, markers)
    for line in lines:
        reader.read_line(line)
    cited = [each for each in reader.stated if each.markers]
    claims = [
        Claim(
            text=each.text,
            ids=tuple(dict.fromkeys(name for marker in each.markers for name in marker.ids)),
            span=each.span,
        )
        for each in cited
    ]
    marks = [Mark(*cut) for marker in markers for cut in _cuts(marker)]
    for each, claim in zip(cited, claims, strict=True):
        start, end = each.unit.start, each.unit.end
        marks += [Mark(start, start, opens=True, ids=claim.ids), Mark(end, end, closes=True)]
    # At one place a claim ends before a marker stands or the next claim begins.
    marks.sort(key=lambda mark: (mark.start, not mark.closes, mark.opens))
    return Reading(
        claims=merge_equal(claims),
        sentences=to_sentences(text, (each.unit for each in reader.stated if not each.markers)),
        malformed_tags=0,
        stray_tags=reader.stray,
        prose=_without(text, block, markers),
        marks=tuple(marks),
    )


class _Reader:
    """Reads a block line by line and gives each marker to the unit before it."""

    def __init__(
        self,
        text: str,
        block: Span,
        lines: Sequence[Line],
        markers: Sequence[Marker],
    ) -> None:
        self._text = text
        self._markers = markers
        self._starts = [marker.start for marker in markers]
        # Spaces for markers keep every position.
        pieces, at = [], 0
        for start, end in (cut for marker in markers for cut in _cuts(marker)):
            pieces += [text[at:start], " " * (end - start)]
            at = end
        self._masked = "".join([*pieces, text[at:]])
        self._units = defaultdict[int, list[Unit]](list)
        for unit in split_units(self._masked, lines, [block]):
            self._units[unit.line.start].append(unit)
        self._next = 0
        self._titles: Sequence[str] = ()
        self.stated: list[_Stated] = []
        self.stray = 0

    def read_line(self, line: Line) -> None:
        first = self._next
        while self._next < len(self._markers) and self._markers[self._next].start < line.end:
            self._next += 1
        here = self._markers[first : self._next]
        if line.kind is not LineKind.ROW:
            header = line.kind is LineKind.HEADER
            self._titles = [text for _, text in self._read_cells(line)] if header else ()
        if not here:
            self.stated += [
                _Stated(unit, fold_space(self._text[unit.start : unit.end]))
                for unit in self._units[line.start]
            ]
            return
        found = list(self._find_stated(line, here))
        if not found and self.stated:  # a line of markers belongs to the text before it
            self.stated[-1].markers += here
            return
        leading: list[Marker] = []
        at = -1
        for marker in here:
            place = marker.shown[1] if marker.shown else marker.start
            while at + 1 < len(found) and found[at + 1].unit.start <= place:
                at += 1
            (found[at].markers if at >= 0 else leading).append(marker)
        self.stray += len(leading)
        self.stated += found

    def _find_stated(self, line: Line, here: Sequence[Marker]) -> Iterator[_Stated]:
        units = self._units[line.start]
        if line.kind is LineKind.ROW:
            yield from self._group_cells(line, here)
        elif units:
            for unit in units:
                yield _Stated(unit, self._show(unit.start, unit.end))
        else:  # a label that cites is no mere label
            for start, end in cut_sentences(self._masked, line.start, line.end):
                if has_content(self._masked[start:end]):
                    yield _Stated(Unit(start, end, line), self._show(start, end))

    def _group_cells(self, line: Line, here: Sequence[Marker]) -> Iterator[_Stated]:
        """The cells of a row up to each cell with a marker; those behind the last one by one."""
        cells = list(self._read_cells(line))
        waiting: list[int] = []
        at = 0
        for number, ((_, end), text) in enumerate(cells):
            if has_content(text):
                waiting.append(number)
            cited = at
            while at < len(here) and here[at].start < end:
                at += 1
            if at > cited and waiting:
                shown = waiting if waiting[0] == 0 else [0, *waiting]
                titled = (self._with_title(each, cells[each][1]) for each in shown)
                span = trim(self._masked, cells[waiting[0]][0][0], end)
                yield _Stated(Unit(*span, line), " | ".join(filter(None, titled)))
                waiting = []
        for number in waiting:
            (start, end), text = cells[number]
            if states_in_cell(text, line.kind):
                yield _Stated(Unit(*trim(self._masked, start, end), line), text)

    def _read_cells(self, line: Line) -> Iterator[tuple[Span, str]]:
        for start, end in cell_spans(self._masked, line.start, line.end):
            yield (start, end), fold_space(self._masked[start:end])

    def _with_title(self, number: int, text: str) -> str:
        title = self._titles[number] if 0 < number < len(self._titles) else ""
        return f"{title}: {text}" if has_content(title) else text

    def _show(self, start: int, end: int) -> str:
        # One marker earlier: of a link only the text is within the unit that it begins.
        first = max(0, bisect_left(self._starts, start) - 1)
        inside = slice(first, bisect_left(self._starts, end))
        return fold_space(_without(self._text, (start, end), self._markers[inside]))


def _cuts(marker: Marker) -> Iterator[Span]:
    """What of a marker is notation: all of it, or what stands around the text of a link."""
    first, last = marker.shown or (marker.end, marker.end)
    yield marker.start, first
    if last < marker.end:
        yield last, marker.end


def _without(text: str, span: Span, markers: Sequence[Marker]) -> str:
    """`text[span]` without markers and the brackets around several of them."""
    pieces, at = [], span[0]
    for start, end in (cut for marker in markers for cut in _cuts(marker)):
        if span[0] <= start < span[1]:
            pieces += [text[at:start], _CUT]
            at = end
    if not pieces:
        return text[slice(*span)]
    return _EMPTIED.sub("", "".join([*pieces, text[at : span[1]]])).replace(_CUT, "")
