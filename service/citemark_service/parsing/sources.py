"""Parses the sources that a rollout's tool output defines: V of the citation score."""

from collections.abc import Iterable, Iterator, Sequence

from citemark_schemas import CitationStyle, Snippet
from citemark_service.parsing.markers import normal_url
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.parsing.source_lists import ListedSource, is_json, read_blocks, read_json
from citemark_service.parsing.source_tags import read_document_tags, read_snippet_tags


def read_sources(
    tool_output: str | None, snippets: Sequence[Snippet] | None, style: CitationStyle = "auto"
) -> Sources:
    """Collect structured snippets, then what `tool_output` defines; the first definition counts.

    One notation is read: JSON where the text begins as such, else `snippet` and `webpage` tags,
    else `document` tags, numbered blocks, or JSON behind a line of text. Sources quote the web, so
    what looks like another notation inside them is their text. With the style `snippet` only tags
    of that kind are sources. Never raises.
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
    by_id: dict[str, SourceSnippet] = {}
    for source in (*given, *tagged, *_number_list(listed)):
        by_id.setdefault(source.id, source)
    return Sources(by_id, _name_otherwise(by_id.values(), listed))


def _number_list(listed: Sequence[ListedSource]) -> Iterator[SourceSnippet]:
    """Listed sources with their ids: as given, else counted from 1.

    Where an id is given twice, as the numbers of two searches are, the second source goes by its
    address.
    """
    taken: set[str] = set()
    for place, (given, source) in enumerate(listed, start=1):
        name = given or str(place)
        if name in taken and source.url:
            name = source.url
        taken.add(name)
        yield SourceSnippet(name, source.text, source.paper_id, source.url)


def _name_otherwise(
    sources: Iterable[SourceSnippet], listed: Sequence[ListedSource]
) -> dict[str, str]:
    """`Sources.aliases`: addresses, and places in a list whose ids are no numbers."""
    aliases: dict[str, str] = {}
    for source in sources:
        address = source.url or (source.id if "://" in source.id else "")
        if address:
            aliases.setdefault(normal_url(address), source.id)
    names = [given for given, _ in listed]
    if names and not any(name.isdecimal() for name in names):
        for place, name in enumerate(names, start=1):
            aliases.setdefault(str(place), name or str(place))
    return aliases
