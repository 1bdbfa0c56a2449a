"""Parses sources that a search tool lists as JSON or as numbered blocks of text."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from citemark_schemas.rows import PAPER_KEYS, TITLE_KEYS, URL_KEYS, join_texts
from citemark_service.parsing.parsed import SourceSnippet

_ID_KEYS: Final = (
    *("id", "doc_id", "docid", "document_id", "source_id", "snippet_id", "citation_id", "index"),
    *("idx", "number", "position", "rank"),
)
_DEEPEST: Final = 6
_MOST_TRIES: Final = 32  # a failed try may cost the length of the text

_VALUE_START = re.compile(r"(?m)^[ \t]*+(?=\{|\[\s*+[\[{])")
_BLOCK = re.compile(
    r"(?m)^[ \t]*+(?:(?:document|source|doc|result|passage)s?[ \t]?)?"
    r"[\[【](?P<number>\d{1,3})[\]】]"
    r"(?=[ \t:(]|$)(?P<titled>[ \t]*+\(?title[ \t]?:)?",
    re.IGNORECASE,
)
_URL_FIELD = re.compile(
    r"(?im)^.{0,12}?\b(?:url source|url|link|source)[ \t]?:[ \t]*+(https?://\S++)"
)
_PAGE = re.compile(
    r"(?im)^title:[^\n]*+\n\s*+url source:[ \t]*+(?P<url>\S++)[ \t]*+\n(?:[^\n]*+\n){0,6}?"
    r"\s*+markdown content:"
)


class ListedSource(NamedTuple):
    """A source with the id that it was given; its place counts where that is empty."""

    id: str
    source: SourceSnippet


def read_json(text: str) -> list[ListedSource]:
    """The sources of a text that consists of JSON, with at most a line before each value."""
    if "{" not in text:
        return []
    found: list[ListedSource] = []
    for value in _decode_values(text):
        found += _list_sources(value, 0)
    return found


def is_json(text: str) -> bool:
    """Whether a text begins as JSON does, so that tags in it are parts of strings."""
    bare = text.lstrip()
    return _VALUE_START.match(bare) is not None and next(_decode_values(bare), None) is not None


def _decode_values(text: str) -> Iterator[Any]:
    decoder, at, tries = json.JSONDecoder(), 0, _MOST_TRIES
    while tries and (start := _VALUE_START.search(text, at)):
        try:
            value, at = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            tries -= 1
            at = text.find("\n", start.end())
            if at < 0:
                return
            continue
        if isinstance(value, dict | list):
            yield value


def _list_sources(value: Any, depth: int) -> Iterator[ListedSource]:
    """The sources of a JSON value in order: objects of a list, or one that is all there is."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        if depth == 0 and (whole := _to_listed(value)):
            yield whole
            return
        for inner in value.values():
            if isinstance(inner, dict | list):
                yield from _list_sources(inner, depth + 1)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and (listed := _to_listed(item)):
                yield listed
            elif isinstance(item, dict | list):
                yield from _list_sources(item, depth + 1)


def _to_listed(item: Mapping[str, Any]) -> ListedSource | None:
    """An object as a source where it has a text, and an address, title or id to be known by."""
    text = (join_texts(item) or "").strip()
    title, url, given = (_first(item, keys) for keys in (TITLE_KEYS, URL_KEYS, _ID_KEYS))
    if not text or not (title or url or given):
        return None
    paper = _first(item, PAPER_KEYS)
    whole = f"{title}\n{text}" if title and title not in text[: len(title) + 20] else text
    return ListedSource(given, SourceSnippet(given, whole, paper or None, url))


def _first(item: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first text or number under the keys, as text."""
    values = (item.get(key) for key in keys)
    plain = (value for value in values if isinstance(value, str | int) and value is not True)
    return next((str(value).strip() for value in plain if value != "" and value is not False), "")


def read_blocks(text: str) -> list[ListedSource]:
    """The sources of a text that is a list of blocks, each begun by its number: `[0] Title: …`.

    Blocks follow each other in number, so that a number in the text of one begins none. Numbers
    may begin again with a title, as those of a second search do.
    """
    starts = _find_blocks(text)
    pages = list(_PAGE.finditer(text)) if "arkdown" in text else []
    if not starts:
        return []
    bounds = sorted(
        [(match.start(), match) for match in starts] + [(page.start(), page) for page in pages],
        key=lambda bound: bound[0],
    )
    found = []
    for place, (start, match) in enumerate(bounds):
        end = bounds[place + 1][0] if place + 1 < len(bounds) else len(text)
        if match.re is _PAGE:
            url = match["url"]
            found.append(ListedSource(url, SourceSnippet(url, text[start:end].strip(), url=url)))
            continue
        number = str(int(match["number"]))
        body = text[match.start("titled") if match["titled"] else match.end() : end].strip(" \t\n:")
        address = _URL_FIELD.search(body[:2_000])
        url = address[1] if address else ""
        found.append(ListedSource(number, SourceSnippet(number, body, url=url)))
    return found


def _find_blocks(text: str) -> list[re.Match[str]]:
    candidates = list(_BLOCK.finditer(text))
    if not candidates or not _opens(text[: candidates[0].start()], candidates[0]):
        return []
    first = int(candidates[0]["number"])
    chain: list[re.Match[str]] = []
    expected = highest = first
    for match in candidates:
        number = int(match["number"])
        # A page that quotes such a list must not hide the blocks behind it.
        if number in (expected, highest) or (number == first and match["titled"]):
            chain.append(match)
            expected, highest = number + 1, max(highest, number + 1)
    return chain


def _opens(before: str, match: re.Match[str]) -> bool:
    """Whether a list may begin here: at 0 or 1, with at most one line before it."""
    return int(match["number"]) <= 1 and before.strip().count("\n") == 0
