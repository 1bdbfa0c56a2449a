"""Finds which notations of citations an answer uses, and chooses the one to read."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from citemark_schemas import ReadStyle, Span
from citemark_service.parsing.lines import Line
from citemark_service.parsing.markers import (
    LINK,
    Marker,
    find_markers,
    normal_url,
    resolve_id,
    skip_silent,
)
from citemark_service.parsing.parsed import Sources, Unread
from citemark_service.parsing.tagged import outside_tags
from citemark_service.parsing.tags import Tag, claim_tags

_OTHER = re.compile(
    r"""\\[a-z]{0,12}cite[a-z]{0,12}\*?(?:\[[^\[\]\n]{0,100}\]){0,2}\{(?P<command>[^{}\n]{1,300})\}
      | \[(?P<keys>-?@[^\[\]\n]{1,300})\](?!\()
      | (?<=\w\s)[({](?P<number>\d{1,3})[)}](?=[.;!?]|[ \t]*+(?:\n|$))
      | (?<!\])\((?:(?:sources?|refs?|see|cf|ids?|snippets?)[.:]?\s)?(?P<ids>[^()\[\]\n]{1,300})\)
      | \[(?:sources?|refs?|see|cf|ids?|snippets?)[.:]?\s(?P<named>[^()\[\]\n]{1,300})\]
      | (?P<turn>turn\d{1,3}(?:search|news|view|fetch|source)\d{1,3})
      | <(?:cite|ref|source|citation)>\s?(?P<inner>[^<>\n]{1,100}?)\s?</
      | <(?:(?:ref|source|citation)\s[^<>]{0,100}?\b(?:ids?|name|index)
          |cite\s[^<>]{0,100}?\b(?:source|ref|index))\s?=\s?["']?(?P<attribute>[^"'<>\s]{1,300})
      | <(?!snippet\b|cite\b)\w{1,40}\s[^<>]{0,100}?\bids?\s?=\s?["']?(?P<tag>[^"'<>\s]{1,300})""",
    re.VERBOSE | re.IGNORECASE,
)


_NUMBERS = ("number", "inner", "attribute")  # numbers there cite, where a source has them
_CODED = re.compile(r"`\[\^?(\d{1,3})\]`(?=[.,;!?]|\s*+(?:$|\n))")


class Tally(NamedTuple):
    known: int
    """Citations of sources that the tool output defines."""
    written: int


@dataclass(frozen=True, slots=True)
class Notations:
    tags: Mapping[ReadStyle, Sequence[Tag]]
    markers: Sequence[Marker]
    tallies: Mapping[ReadStyle, Tally]
    """Those with citations, of markers only the ones outside claim tags."""
    others: Mapping[Unread, int]
    """Citations that no notation reads."""

    def choose(self, sources: Sources) -> ReadStyle:
        """The notation of most citations of known sources, else of most citations.

        Markers whose numbers could name no source may be anything, so they decide nothing.
        """
        possible = dict(self.tallies)
        if (
            sources.by_id
            and not sources.numbered
            and not possible.get("numbered", Tally(0, 0)).known
        ):
            possible.pop("numbered", None)
        # `max` keeps the first of equals, which is the published run's notation.
        return max(possible, key=lambda style: possible[style], default="snippet")

    def count_unread(self, chosen: ReadStyle) -> dict[Unread, int]:
        return {
            **{style: each.written for style, each in self.tallies.items() if style != chosen},
            **self.others,
        }


def read_notations(text: str, block: Span, lines: Sequence[Line], sources: Sources) -> Notations:
    """All notations of citations in `text[block]`. Linear time."""
    tags: dict[ReadStyle, Sequence[Tag]] = {
        "snippet": list(claim_tags(text, *block)),
        # HTML's own `cite` has no id and names a work.
        "cite": _with_ids(list(claim_tags(text, *block, "cite"))),
    }
    markers = find_markers(text, block, lines, sources)
    tallies: dict[ReadStyle, Tally] = {}
    outside = [block]
    for style, found in tags.items():
        opening = [tag for tag in found if not tag.closing]
        if opening:
            known = sum(name in sources.by_id for tag in opening for name in tag.ids)
            tallies[style] = Tally(known, sum(max(1, len(tag.ids)) for tag in opening))
            if markers:
                outside = _overlap(outside, outside_tags(text, block, found))
    free, at = [], 0
    for marker in markers:
        while at < len(outside) and outside[at][1] <= marker.start:
            at += 1
        if at < len(outside) and outside[at][0] <= marker.start:
            free.append(marker)
    if free:
        written = sum(len(marker.ids) for marker in free)
        tallies["numbered"] = Tally(sum(marker.known for marker in free), written)
    return Notations(tags, markers, tallies, _count_others(text, block, lines, sources))


def _count_others(
    text: str, block: Span, lines: Sequence[Line], sources: Sources
) -> dict[Unread, int]:
    """Citation commands, ids of sources in brackets or tags of other kinds, links to no source.

    What may be no citation, such as "(see above)" or "(2)", counts only where it is such an id.
    """
    counts: Counter[Unread] = Counter()
    others = (match for match in _OTHER.finditer(text, *block) if _cites(match, sources))
    for match in skip_silent(others, text, block, lines):
        counts["other"] += len(_read_keys(match))
    coded = (resolve_id(match[1], sources)[1] for match in _CODED.finditer(text, *block))
    counts.update({"other": known} if (known := sum(coded)) else {})
    if not sources.by_id or text.find("](", *block) < 0:  # fast path
        return counts
    for match in skip_silent(LINK.finditer(text, *block), text, block, lines):
        number = match["title"].isdecimal() and not sources.addressed  # is read as such
        known = resolve_id(normal_url(match["address"]), sources)[1]
        if "://" in match["address"] and not number and not known:
            counts["link"] += 1
    return counts


def _cites(match: re.Match[str], sources: Sources) -> bool:
    keys = _read_keys(match)
    kind = match.lastgroup
    if kind in _NUMBERS:
        telling = all(resolve_id(key, sources)[1] for key in keys)
    else:
        telling = all(key in sources.by_id and not key.isdecimal() for key in keys)
    return bool(keys) and (telling or kind in ("command", "keys", "turn"))


def _read_keys(match: re.Match[str]) -> list[str]:
    return re.findall(r"[^\s,;]++", match[match.lastgroup or 0])


def _with_ids(tags: Sequence[Tag]) -> Sequence[Tag]:
    """The tags, or none where no opening one has an id."""
    return tags if any(tag.ids for tag in tags) else ()


def _overlap(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """What two ordered sequences of spans have in common."""
    common, at, to = list[Span](), 0, 0
    while at < len(left) and to < len(right):
        start, end = max(left[at][0], right[to][0]), min(left[at][1], right[to][1])
        if start < end:
            common.append((start, end))
        if left[at][1] < right[to][1]:
            at += 1
        else:
            to += 1
    return common
