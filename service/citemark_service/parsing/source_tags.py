"""Parses sources in tags: `snippet`, `snippets` and `webpage`, or `document` and its like.

The text is cut at everything that looks like a source tag, and each tag is parsed within its own
cut, which takes linear time. A quoted attribute may thus contain brackets, but no source tag.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from citemark_schemas.bulk import loads
from citemark_service.parsing.parsed import SourceSnippet

_SNIPPETS = re.compile(r"<(/?)(snippets?|webpage)(?=[\s/>])", re.IGNORECASE)
_DOCUMENTS = re.compile(r"<(/?)(document|doc|passage|result|source)(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?P<name>[^\s=>/][^\s=>]*+)
        (?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>]++)))?""",
    re.VERBOSE,
)
_METADATA = re.compile(r"[^>]*?\smetadata\s*+=\s*+([\"'])(?=\{)", re.IGNORECASE)
_PAPER_ATTRIBUTES = ("paper_id", "paper-id")
_PAPER_KEYS = ("paper_id", "corpusId", "corpus_id")
_ID_ATTRIBUTES = ("id", "index", "number")
_URL_ATTRIBUTES = ("url", "href", "link")
_ADDRESS_LINE = re.compile(
    r"(?:[^\n]{0,400}+\n){0,2}?\s*+(?:url|url source|link|source)\s?:\s*+(https?://\S++)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _SourceTag:
    start: int
    end: int
    name: str
    closing: bool
    id: str = ""
    paper_id: str | None = None
    url: str = ""

    @property
    def page(self) -> bool:
        return self.name == "webpage"


def read_snippet_tags(text: str) -> list[SourceSnippet]:
    """Sources in `snippet`, `snippets` and `webpage` tags with an id, in order.

    The text of a page includes the snippets inside it. A source that is not closed ends at the
    next one. Sources quote the web: a tag inside a closed snippet is its text, and one inside a
    page, or behind a source that never closes, defines an id only where no other tag does.
    """
    tags = list(_find_tags(text, _SNIPPETS, ("id",)))
    inside = _find_inside(tags)
    tags = [tag for at, tag in enumerate(tags) if inside[at] is not True]
    doubtful = [state is None for state in inside if state is not True]
    certain = {tag.id for tag, unsure in zip(tags, doubtful, strict=True) if not unsure}
    return [
        _to_source(tag, " ".join(filter(None, map(str.strip, pieces))))
        for tag, unsure, pieces in zip(tags, doubtful, _read_bodies(text, tags), strict=True)
        if tag.id and not (unsure and tag.id in certain)
    ]


def read_document_tags(text: str) -> list[SourceSnippet]:
    """Sources in tags that hold documents; those without id or index count from 1."""
    tags = list(_find_tags(text, _DOCUMENTS, _ID_ATTRIBUTES))
    inside = _find_inside(tags)
    found = [tag for at, tag in enumerate(tags) if inside[at] is not True and not tag.closing]
    ends = {tag.start: tags[at + 1].start for at, tag in enumerate(tags[:-1])}
    closers = _pair_tags(tags)
    for at, tag in enumerate(tags):
        if at in closers:
            ends[tag.start] = tags[closers[at]].start
    whole = [tag for tag in found if tag.id or tag.name in ("document", "doc")]
    return [
        _to_source(tag, text[tag.end : ends.get(tag.start, len(text))].strip(), str(number))
        for number, tag in enumerate(whole, start=1)
    ]


def _to_source(tag: _SourceTag, body: str, number: str = "") -> SourceSnippet:
    address = _ADDRESS_LINE.match(body)
    url = tag.url or (address[1] if address else "")
    return SourceSnippet(id=tag.id or number, text=body, paper_id=tag.paper_id, url=url)


def _pair_tags(tags: Sequence[_SourceTag]) -> dict[int, int]:
    """Closing tag by opening tag, of one name."""
    closers: dict[int, int] = {}
    waiting: dict[str, list[int]] = {}
    for at, tag in enumerate(tags):
        stack = waiting.setdefault(tag.name, [])
        if not tag.closing:
            stack.append(at)
        elif stack:
            closers[stack.pop()] = at
    return closers


def _find_inside(tags: Sequence[_SourceTag]) -> list[bool | None]:
    """For each tag whether it is inside a closed source, with None where that is doubtful: in a
    page, or behind a source that never closes."""
    closers = _pair_tags(tags)
    inside: list[bool | None] = []
    end, page_end, unclosed = -1, -1, False
    for at, tag in enumerate(tags):
        if at < end:
            inside.append(True)
            continue
        inside.append(None if at < page_end or (unclosed and not tag.closing) else False)
        if tag.closing or not tag.id:
            continue
        if at not in closers:
            unclosed = True
        elif tag.page:
            page_end = max(page_end, closers[at])
        else:
            end = closers[at]
    return inside


def _read_bodies(text: str, tags: Sequence[_SourceTag]) -> list[list[str]]:
    """The pieces of text of each tag's source; text in a snippet also belongs to its page."""
    bodies: list[list[str]] = [[] for _ in tags]
    closed = _closed_pages(tags)
    page: int | None = None
    for index, tag in enumerate(tags):
        if tag.page:
            page = index if index in closed else None
        end = tags[index + 1].start if index + 1 < len(tags) else len(text)
        innermost = None if tag.closing else index
        # A set, since a page's own tag is both.
        for owner in {owner for owner in (page, innermost) if owner is not None}:
            bodies[owner].append(text[tag.end : end])
    return bodies


def _closed_pages(tags: Sequence[_SourceTag]) -> set[int]:
    """Indices of the pages that close before the next page opens."""
    pages = [(index, tag) for index, tag in enumerate(tags) if tag.page]
    following = itertools.pairwise(pages)
    return {index for (index, tag), (_, after) in following if after.closing and not tag.closing}


def _find_tags(
    text: str, pattern: re.Pattern[str], id_names: Sequence[str]
) -> Iterator[_SourceTag]:
    starts = list(pattern.finditer(text))
    cuts = [*(match.start() for match in starts), len(text)][1:]
    for start, cut in zip(starts, cuts, strict=True):
        tag = _read_tag(start, text[start.end() : cut], id_names)
        if tag is not None:
            yield tag


def _read_tag(start: re.Match[str], rest: str, id_names: Sequence[str]) -> _SourceTag | None:
    """The tag that `start` begins; None where `rest`, its cut, has no `>`."""
    metadata, plain = _without_metadata(rest)
    attributes, at = _attributes(plain)
    close = plain.find(">", at)
    if close < 0:
        return None
    return _SourceTag(
        start=start.start(),
        end=start.end() + close + 1,
        name=start[2].lower(),
        closing=bool(start[1]),
        id="" if start[1] else next(filter(None, map(attributes.get, id_names)), ""),
        paper_id=_paper_id(attributes, metadata or attributes.get("metadata", "")),
        url=next(filter(None, map(attributes.get, _URL_ATTRIBUTES)), ""),
    )


def _without_metadata(rest: str) -> tuple[str, str]:
    """The JSON object in `metadata`, and `rest` with a blank of the same length in its place."""
    opening = _METADATA.match(rest)
    if opening is None:
        return "", rest
    # JSON often contains the quotes that delimit the attribute: it ends at a `}` before a quote.
    end = rest.find("}" + opening[1], opening.end())
    if end < 0:
        return "", rest
    blank = '""'.ljust(end + 2 - opening.start(1))
    return rest[opening.end() : end + 1], rest[: opening.start(1)] + blank + rest[end + 2 :]


def _attributes(rest: str) -> tuple[dict[str, str], int]:
    """Attributes by lower-case name, the first of a name, and the position behind the last."""
    found: dict[str, str] = {}
    at = 0
    while match := _ATTRIBUTE.match(rest, at):
        value = match["double"] or match["single"] or (match["bare"] or "").strip("\"'")
        found.setdefault(match["name"].lower(), value.strip())
        at = match.end()
    return found, at


def _paper_id(attributes: Mapping[str, str], metadata: str) -> str | None:
    for name in _PAPER_ATTRIBUTES:
        if attributes.get(name):
            return attributes[name]
    return _paper_in(metadata)


def _paper_in(metadata: str) -> str | None:
    if not metadata:
        return None
    try:
        values = loads(metadata)
    except (ValueError, RecursionError):
        # The format of metadata is the search tool's; without a readable paper id there is none.
        return None
    if not isinstance(values, dict):
        return None
    papers = (values.get(key) for key in _PAPER_KEYS)
    return next((str(paper) for paper in papers if isinstance(paper, str | int) and paper), None)
