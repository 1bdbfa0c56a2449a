"""Parses the sources that a rollout's tool output defines: V of the citation score."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from citemark_schemas import CitationStyle, Snippet
from citemark_service.parsing.markers import normal_url
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.parsing.source_lists import ListedSource, is_json, read_blocks, read_json
from citemark_service.parsing.source_tags import read_document_tags, read_snippet_tags


def read_sources(
    tool_output: str | None, snippets: Sequence[Snippet] | None, style: CitationStyle = "auto"
) -> Sources:
    """Collect structured snippets, then what `tool_output` defines.

    One notation is read: JSON where the text begins as such, else `snippet` and `webpage` tags,
    else `document` tags, numbered blocks, or JSON behind a line of text. Sources quote the web, so
    what looks like another notation inside them is their text. With the style `snippet` only tags
    of that kind are sources. An id or address that is given to several texts, as by searches that
    each count from 1, means all of them. Never raises.
    """
    text = tool_output or ""
    given = [
        SourceSnippet(item.id, item.shown, item.paper_id, item.url or "") for item in snippets or ()
    ]
    listed: list[ListedSource] = []
    tagged: list[SourceSnippet] = []
    if style != "snippet" and is_json(text):
        listed = read_json(text)
    if not listed:
        tagged = read_snippet_tags(text)
    if not (listed or tagged) and style != "snippet":
        tagged = read_document_tags(text)
        listed = [] if tagged else read_blocks(text) or read_json(text)
    found = defaultdict[str, list[SourceSnippet]](list)
    pages = defaultdict[str, list[SourceSnippet]](list)
    for source in (*given, *tagged, *_number_list(listed)):
        found[source.id].append(source)
        if address := source.url or (source.id if "://" in source.id else ""):
            pages[normal_url(address)].append(source)
    by_id = {name: _join_texts(name, group) for name, group in found.items()}
    repeated = frozenset(name for name, group in found.items() if by_id[name].text != group[0].text)
    aliases: dict[str, str] = {}
    for address, group in pages.items():
        name = group[0].id
        whole = _join_texts(group[0].url or name, group)
        if whole.text != by_id[name].text:
            name = whole.id
            by_id[name] = _join_texts(name, [*found.get(name, ()), whole])
        aliases[address] = name
    return Sources(by_id, aliases | _name_places(listed), repeated)


def _join_texts(name: str, group: Sequence[SourceSnippet]) -> SourceSnippet:
    """One source with the texts of all, equal ones once."""
    first = group[0]
    if first.id == name and all(each.text == first.text for each in group):
        return first
    text = "\n\n".join(dict.fromkeys(each.text for each in group))
    return SourceSnippet(name, text, first.paper_id, first.url)


def _number_list(listed: Sequence[ListedSource]) -> Iterator[SourceSnippet]:
    """Listed sources with their ids: as given, else counted from 1."""
    for place, (given, source) in enumerate(listed, start=1):
        name = given or str(place)
        yield SourceSnippet(name, source.text, source.paper_id, source.url)


def _name_places(listed: Sequence[ListedSource]) -> dict[str, str]:
    """The ids of a list by their places, where none is a number."""
    names = [given for given, _ in listed]
    if any(name.isdecimal() for name in names):
        return {}
    return {str(place): name or str(place) for place, name in enumerate(names, start=1)}
