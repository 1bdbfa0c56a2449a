"""Finds the lines of an answer that list its sources, which state nothing themselves.

A line is a reference where it names a source that the tool output defines, by an id or number at
its start or by its address, and shows nothing else but the source's title: its first line, with or
without the name of the site behind it. Any other word could be part of a statement, false or not,
so such a line is read as every other is, and the judge says whether it states a fact.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from citemark_service.parsing.abbreviations import word_set
from citemark_service.parsing.lines import Line, LineKind
from citemark_service.parsing.markers import LINK, normal_url, resolve_id
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.parsing.units import LIST_TITLES
from citemark_service.parsing.visible import has_content, normal_form

_LENGTHS: Final = range(4, 1_000)
_TITLE_CHARS: Final = 400
_BESIDES = word_set("source url link title doi from available at retrieved accessed see")
_BULLET = re.compile(r"[ \t>]*+(?:[-*+•][ \t]++|(?P<number>\d{1,3})[.)][ \t]++)?")
_NAME = re.compile(
    r"\[{1,2}\^?(?P<marked>[^\[\]]{1,100}+)\]{1,2}(?!\():?|(?P<named>[^\s:()\[\]]{1,100}+):(?!//)"
)
_ADDRESS = re.compile(r"<?(?:https?://|www\.)[^\s<>]++>?")
_SITE = re.compile(r"\s[-–—|·]\s")
_AROUND_TITLE = " \t#*_:"
_AROUND = " .,:()*_\"'“”–—-"


def read_references(
    text: str, lines: Sequence[Line], sources: Sources
) -> tuple[str, dict[str, str]]:
    """The answer's own list of references, by which a reader understands its markers.

    Returns:
        `text` with spaces in place of the lines that are references, so that positions stay, and
        the ids of the sources that its lines name by address, title or id, by the lines' own names.
    """
    pieces, at = list[str](), 0
    names: dict[str, str] = {}
    listing = False  # whether a title such as "References" stands above
    for start, end, kind in lines:
        line = text[start:end]
        listing = listing or line.strip(_AROUND_TITLE).lower() in LIST_TITLES
        if kind is LineKind.TEXT and end - start in _LENGTHS and ("[" in line or ":" in line):
            rest, name, source = _read_reference(line, sources, listing=listing)
            if name and source:
                names.setdefault(name, source)
            if rest != line:
                pieces += [text[at:start], rest]
                at = end
    return ("".join([*pieces, text[at:]]) if pieces else text), names


class _Reference(NamedTuple):
    rest: str
    """The line with spaces in place of the reference."""
    name: str = ""
    source: str = ""
    """The id of the source that the line gives the name."""


def _read_reference(line: str, sources: Sources, *, listing: bool) -> _Reference:
    bullet = _BULLET.match(line)
    begin = bullet.end() if bullet else 0
    match = _NAME.match(line, begin)
    own = (match["marked"] or match["named"]).strip() if match else ""
    named = _find_sources([own], sources)
    if match and (named or match["marked"]):
        begin = match.end()
    body = line[begin:]
    # A link within a line is the citation of what stands around it.
    link = LINK.fullmatch(body.strip(" ."))
    if not named and not link and LINK.search(body):
        return _Reference(line)
    name = own if match and match["marked"] else ""
    if not name and listing and bullet:
        name = bullet["number"] or ""
    linked = [match["address"] for match in LINK.finditer(body)]
    plain = LINK.sub(r"\g<title>", body)
    bare = (address.rstrip(".,;") for address in _ADDRESS.findall(plain))
    addresses = linked + [each if "(" in each else each.rstrip(").,;") for each in bare]
    addressed = _find_sources(map(normal_url, addresses), sources)
    shown = _ADDRESS.sub("", plain).strip(_AROUND)
    alone = _find_sources([shown], sources)  # "[^1]: S1"
    target = next((source.id for source in (*addressed, *alone)), "")
    if alone:
        whole = not alone[0].id.isdecimal()
    elif has_content(shown):
        whole = _is_title(shown, named + addressed)
    else:
        whole = bool(addresses and (named or addressed))
    if whole:
        return _Reference(" " * len(line), name, target)
    if name and target:  # the words stay, and name and address cite nothing
        rest = _ADDRESS.sub(lambda found: " " * len(found[0]), body)
        return _Reference(" " * begin + rest, name, target)
    return _Reference(line)


def _is_title(shown: str, sources: Iterable[SourceSnippet]) -> bool:
    words = normal_form(shown).split()
    while words and words[0] in _BESIDES:
        words.pop(0)
    while words and words[-1] in _BESIDES:
        words.pop()
    return any(" ".join(words) in _titles(source) for source in sources)


def _find_sources(names: Iterable[str], sources: Sources) -> list[SourceSnippet]:
    resolved = (resolve_id(name.strip(), sources) for name in names)
    return [sources.by_id[name] for name, known in resolved if known]


def _titles(source: SourceSnippet) -> list[str]:
    line = source.text[:_TITLE_CHARS].partition("\n")[0].removeprefix("Title:")
    title = _ADDRESS.sub("", line).strip(_AROUND)
    return [normal_form(title), normal_form(_SITE.split(title, maxsplit=1)[0])]
