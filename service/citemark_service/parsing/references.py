"""Finds the lines of an answer that list its sources, which state nothing themselves.

A line is a reference where it names a source that the tool output defines, by an id or number at
its start or by its address, and shows nothing else but the source's title: its first line, with or
without the name of the site behind it. Any other word could be part of a statement, false or not,
so such a line is read as every other is, and the judge says whether it states a fact.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from citemark_service.parsing.abbreviations import word_set
from citemark_service.parsing.lines import Line, LineKind
from citemark_service.parsing.markers import LINK, normal_url, resolve_id
from citemark_service.parsing.parsed import Sources, SourceSnippet
from citemark_service.parsing.visible import has_content, normal_form

_LENGTHS: Final = range(4, 1_000)
_TITLE_CHARS: Final = 400
_BESIDES = word_set("source url link title doi from available at retrieved accessed see")
_BULLET = re.compile(r"[ \t>]*+(?:[-*+•][ \t]++|\d{1,3}[.)][ \t]++)?")
_NAME = re.compile(
    r"\[{1,2}\^?(?P<marked>[^\[\]]{1,100}+)\]{1,2}(?!\():?|(?P<named>[^\s:()\[\]]{1,100}+):(?!//)"
)
_ADDRESS = re.compile(r"<?(?:https?://|www\.)[^\s<>]++>?")
_SITE = re.compile(r"\s[-–—|·]\s")
_AROUND = " .,:()*_\"'“”–—-"


def blank_references(text: str, lines: Sequence[Line], sources: Sources) -> str:
    """`text` with spaces in place of the lines that are references, so that positions stay."""
    pieces, at = list[str](), 0
    for start, end, kind in lines:
        if kind is LineKind.TEXT and end - start in _LENGTHS:
            line = text[start:end]
            if ("[" in line or ":" in line) and _is_reference(line, sources):
                pieces += [text[at:start], " " * (end - start)]
                at = end
    return "".join([*pieces, text[at:]]) if pieces else text


def _is_reference(line: str, sources: Sources) -> bool:
    bullet = _BULLET.match(line)
    body = line[bullet.end() :] if bullet else line
    name = _NAME.match(body)
    found = _find_sources([name["marked"] or name["named"]] if name else (), sources)
    if name and (found or name["marked"]):
        body = body[name.end() :]
    # A link within a line is the citation of what stands around it.
    link = LINK.fullmatch(body.strip(" ."))
    if not found and not link and LINK.search(body):
        return False
    linked = [match["address"] for match in LINK.finditer(body)]
    body = LINK.sub(r"\g<title>", body)
    addresses = linked + [address.rstrip(".,;)") for address in _ADDRESS.findall(body)]
    found += _find_sources(map(normal_url, addresses), sources)
    shown = _ADDRESS.sub("", body).strip(_AROUND)
    if named := _find_sources([shown], sources):  # "[^1]: S1"
        return not named[0].id.isdecimal()
    if not found or not has_content(shown):
        return bool(found and addresses)
    words = normal_form(shown).split()
    while words and words[0] in _BESIDES:
        words.pop(0)
    while words and words[-1] in _BESIDES:
        words.pop()
    return any(" ".join(words) in _titles(source) for source in found)


def _find_sources(names: Iterable[str], sources: Sources) -> list[SourceSnippet]:
    resolved = (resolve_id(name.strip(), sources) for name in names)
    return [sources.by_id[name] for name, known in resolved if known]


def _titles(source: SourceSnippet) -> list[str]:
    line = source.text[:_TITLE_CHARS].partition("\n")[0].removeprefix("Title:")
    title = _ADDRESS.sub("", line).strip(_AROUND)
    return [normal_form(title), normal_form(_SITE.split(title, maxsplit=1)[0])]
