"""Parses the sources that a rollout's tool output defines: V of the citation score.

The text is cut at everything that looks like a source tag, and each tag is parsed within its own
cut, which takes linear time. A quoted attribute may thus contain brackets, but no source tag.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from citemark_schemas import Snippet
from citemark_service.parsing.parsed import Sources, SourceSnippet

_START = re.compile(r"<(/?)(snippets?|webpage)(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?P<name>[^\s=>/][^\s=>]*+)
        (?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>]++)))?""",
    re.VERBOSE,
)
_METADATA = re.compile(r"[^>]*?\smetadata\s*+=\s*+([\"'])(?=\{)", re.IGNORECASE)
_PAPER_ATTRIBUTES = ("paper_id", "paper-id")
_PAPER_KEYS = ("paper_id", "corpusId", "corpus_id")


@dataclass(frozen=True, slots=True)
class _SourceTag:
    start: int
    end: int
    page: bool
    closing: bool
    id: str = ""
    paper_id: str | None = None


def read_sources(tool_output: str | None, snippets: Sequence[Snippet] | None) -> Sources:
    """Collect structured snippets, then the tags of `tool_output`; the first definition counts.

    The tags are `<snippet id=ID>`, `<snippets id="ID" metadata='{…}'>` and `<webpage id=ID>`, in
    any case. The text of a page includes the snippets inside it. A source that is not closed
    ends at the next one. Never raises.
    """
    by_id: dict[str, SourceSnippet] = {}
    given = (SourceSnippet(item.id, item.text, item.paper_id) for item in snippets or ())
    for source in (*given, *_read_tagged(tool_output or "")):
        by_id.setdefault(source.id, source)
    return Sources(by_id)


def _read_tagged(text: str) -> Iterator[SourceSnippet]:
    tags = list(_find_tags(text))
    for tag, pieces in zip(tags, _read_bodies(text, tags), strict=True):
        if tag.id:
            body = " ".join(piece.strip() for piece in pieces if piece.strip())
            yield SourceSnippet(id=tag.id, text=body, paper_id=tag.paper_id)


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


def _find_tags(text: str) -> Iterator[_SourceTag]:
    starts = list(_START.finditer(text))
    cuts = [*(match.start() for match in starts), len(text)][1:]
    for start, cut in zip(starts, cuts, strict=True):
        tag = _read_tag(start, text[start.end() : cut])
        if tag is not None:
            yield tag


def _read_tag(start: re.Match[str], rest: str) -> _SourceTag | None:
    """The tag that `start` begins; None where `rest`, its cut, has no `>`."""
    metadata, plain = _without_metadata(rest)
    attributes, at = _attributes(plain)
    close = plain.find(">", at)
    if close < 0:
        return None
    return _SourceTag(
        start=start.start(),
        end=start.end() + close + 1,
        page=start[2].lower() == "webpage",
        closing=bool(start[1]),
        id="" if start[1] else attributes.get("id", ""),
        paper_id=_paper_id(attributes, metadata or attributes.get("metadata", "")),
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
        values = json.loads(metadata)
    except (ValueError, RecursionError):
        # The format of metadata is the search tool's; without a readable paper id there is none.
        return None
    if not isinstance(values, dict):
        return None
    papers = (values.get(key) for key in _PAPER_KEYS)
    return next((str(paper) for paper in papers if isinstance(paper, str | int) and paper), None)
