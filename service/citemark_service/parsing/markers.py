"""Finds numbered citation markers and links to sources in an answer. Linear in the text.

The forms are `[1]`, `[1][2]`, `[1, 2]`, `[1-3]`, `[^1]`, `[citation:1]`, `[[1]](url)`,
`[[1](url)]`, `[title](url)`, `[title][1]`, `【1†…】`, `(Source 1)`, `[ID]` with an id that the tool
output defines, a source's address, and superscripts behind a word, a year or a stop. What stands
in code or a formula is no marker, nor what stands in a quotation that has a marker of its own
behind it: there it is the quoted text's.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from citemark_schemas import Span
from citemark_service.parsing.labels import is_label
from citemark_service.parsing.lines import Line, LineKind
from citemark_service.parsing.parsed import Sources

_WIDEST_RANGE = 1_000
_MOST_RANGED = 20_000  # ids that the ranges of one answer may stand for

_PREFIX = (
    r"(?:(?:citation|source|ref|reference|document|doc|result|webpage|page|cite|quellen?|fuentes?"
    r"|fontes?|fonti|bron|bronnen|źródło|источник|来源|來源|资料|資料|参考|출처)s?\.?\s?[:#：]?\s?)?"
)
_SAID = r"(?:sources?|refs?\.?|references?|citations?|quellen?|来源|來源|出典)"
_NUMBER = rf"\^?{_PREFIX}\d{{1,3}}"
_LIST = rf"\s?{_NUMBER}(?:\s?[,;，、–—-]\s?{_NUMBER}){{0,60}}\s?"
# Addresses may hold brackets in pairs, one level deep.
_URL = r"(?:[^\s()]|\([^\s()]*+\))++"
_TITLE = r"(?:\s++\"[^\"\n]*+\")?"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_MARKER = re.compile(
    rf"""
    (?<!!)\\?\[{{1,2}}(?P<numbers>{_LIST})\\?\]{{1,2}}(?:\((?P<url>{_URL}){_TITLE}\)\]?)?
  | (?<!!)\[{{1,2}}(?P<title>[^\[\]\n]{{1,300}}+)\]{{1,2}}\((?P<link>{_URL}){_TITLE}\)\]?
  | (?<!!)\[(?P<ids>[^\[\]\n]{{1,300}}+)\]
  | 【(?P<wide>[^【】\n†]{{1,200}})(?P<dagger>†[^【】\n]{{0,300}})?】
  | <sup>\s?\[?(?P<sup>{_LIST})\]?\s?</sup>
  | \((?P<said>{_SAID}\s?[:#：]?\s?\d{{1,3}}(?:\s?[,;]\s?\d{{1,3}}){{0,60}})\)
  | <a\s[^<>]{{0,200}}?href\s?=\s?["']?(?P<href>[^\s"'<>]++)["']?[^<>]{{0,200}}>
    (?P<anchor>[^<>\n]{{1,300}}+)</a\s?>
  | (?<!\]\()(?<!["'=])<?(?P<bare>https?://{_URL})>?
  | (?:(?<=[^\W\d_]{{4}})|(?<=[.,;:!?”"'’)])|(?<=\b1[5-9]\d\d)|(?<=\b20\d\d))
    (?P<super>[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,3}}(?:[,˒⸴ ][⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,3}}){{0,20}})
    """,
    re.VERBOSE | re.IGNORECASE,
)
LINK: Final = re.compile(
    rf"(?<!!)\[{{1,2}}(?P<title>[^\[\]\n]{{1,300}}+)\]{{1,2}}\((?P<address>{_URL}){_TITLE}\)"
)
_POSSIBLE = re.compile(rf"[\[【［〔⁰¹²³⁴-⁹]|<sup|https?://|href|\({_SAID}", re.IGNORECASE)
_BRACKETS = str.maketrans("［］〔〕", "[][]")
_ITEM = re.compile(r"(?P<low>\d{1,3})\s?[–—-]\s?\^?(?P<high>\d{1,3})|(?P<one>\d{1,3})")
_BETWEEN = re.compile(r"\s*[,;，、]\s*")
_INLINE_CODE = re.compile(r"(`{1,2})(?!`)[^`\n]++\1(?!`)|(?<![\\$\w])\$(?![\s\d$])[^$\n]++\$(?!\d)")
_QUOTATION = re.compile(r'"[^"\n]++"|“[^“”\n]++”|«[^«»\n]++»|„[^„“”\n]++[“”]|「[^「」\n]++」')
LEADS: Final = r"(?:(?:sources?|refs?|see|via|cf|from|quellen?|siehe|vgl)\b[.:]?\s?)?"
_LEAD = re.compile(rf"\({LEADS}$", re.IGNORECASE)
_LEAD_CHARS = 12
_AFTER_STOP = re.compile(rf"[.!?。！？…।۔][\"'”’»)\]*_]{{0,3}}\s?{LEADS}$", re.IGNORECASE)
_LAST_OR_LISTED = re.compile(r"\)|\s?[,;]\s?\[")
_STOPS = ".,;:!?"
_SENTENCE_END = re.compile(
    r">?\)?(?:[.!?;。！？](?=[\s<]|$)|[.,;:!?]*+[ \t]*+(?:$|[\n|]|(?=[\[<])))"
)
_GAP = re.compile(r"[\s.,;:!?]{0,4}+")
_SCHEME = re.compile(r"(?:view-source:|https?://r\.jina\.ai/|https?://(?:www\.)?)++", re.IGNORECASE)
_TRACKING = re.compile(r"[?&]utm_[^&#]*+")


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker, `text[start:end]`, with the brackets around it and the space before it."""

    start: int
    end: int
    ids: tuple[str, ...]
    known: int
    """How many of the ids the tool output defines."""
    shown: Span | None = None
    """The text of a link, which belongs to the sentence around it."""


def find_markers(text: str, block: Span, lines: Sequence[Line], sources: Sources) -> list[Marker]:
    """The markers of `text[block]`, whose lines are given, in order."""
    markers: list[Marker] = []
    if not _POSSIBLE.search(text, *block):  # fast path for most answers with tags
        return markers
    text = text.translate(_BRACKETS)
    ranged, cut_end = _MOST_RANGED, 0  # the end of the last link that was cut with its title
    for match in skip_silent(_MARKER.finditer(text, *block), text, block, lines):
        written = list(_read_ids(match, sources, ranged))
        ranged -= len(written)
        if not written:
            continue
        ids = tuple(dict.fromkeys(name for name, _ in written))
        known = len({name for name, found in written if found})
        start, end = match.span()
        if match["bare"]:
            end -= len(match["bare"]) - len(match["bare"].rstrip(_STOPS))
        title = _find_title(match, text, end, markers, sources)
        if title and title[1] < start:
            start = title[0] - 1
        before = text[max(0, start - _LEAD_CHARS) : start]
        listed = 0 < cut_end <= start < cut_end + 3 and text[cut_end:start].strip() in (",", ";")
        goes_on = _LAST_OR_LISTED.match(text, end)
        in_brackets = (listed or _LEAD.search(before)) and goes_on
        # Behind a full stop it is a sentence of its own to the eye only.
        behind = listed or (title and _AFTER_STOP.search(before))
        apart = in_brackets or (behind and (goes_on or _SENTENCE_END.match(text, end)))
        if title and not (apart and (match["bare"] or is_label(text[slice(*title)]))):
            markers.append(Marker(start, end, ids, known, shown=title))
            continue
        cut_end = end if title else cut_end
        if text[end : end + 1] == ")" and before.endswith("("):
            start, end = start - 1, end + 1
        if text[start - 1 : start] == " " and start > block[0]:
            start -= 1  # else a space would be left before the stop
        last = markers[-1].end if markers else start
        if start - last < 3 and text[last:start].strip() in (",", ";"):
            start = last  # "[1], [2]" leaves no comma either
        markers.append(Marker(start, end, ids, known))
    return markers


def _find_title(
    match: re.Match[str], text: str, end: int, markers: Sequence[Marker], sources: Sources
) -> Span | None:
    """What of a link belongs to its sentence: its text, that of `[text][1]` with an own list, or a
    bare address that does not end its sentence."""
    start = match.start()
    if match["bare"]:
        return None if _SENTENCE_END.match(text, end) else (start, end)
    if match["title"] or match["anchor"]:
        return match.span("title" if match["title"] else "anchor")
    if text[start - 1 : start] == "]" and sources.listed and (match["ids"] or match["numbers"]):
        opening = text.rfind("[", max(0, start - 300), start)
        if opening >= (markers[-1].end if markers else 0):
            return opening + 1, start - 1
    return None


def normal_url(url: str) -> str:
    """An address to compare by: without scheme, `www.`, fragment, tracking and final slash."""
    bare = _SCHEME.sub("", url.strip().strip("<>"), count=1).partition("#")[0]
    host, slash, path = _TRACKING.sub("", bare).partition("/")
    return f"{host.lower()}{slash}{path}".rstrip("/")


def resolve_id(name: str, sources: Sources) -> tuple[str, bool]:
    """The id of the source that `name` names and True, else the name and False.

    Names of the answer's own list come first, since that list is what its reader sees.
    """
    known = sources.listed.get(name)
    if known is None:
        known = name if name in sources.by_id else sources.aliases.get(name)
    return (name, False) if known is None else (known, True)


def _read_ids(match: re.Match[str], sources: Sources, ranged: int) -> Iterator[tuple[str, bool]]:
    """What a marker cites, each with whether the tool output defines it; nothing for mere text."""
    if match["href"] or match["bare"] or match["said"]:
        yield from _read_known(match, sources, ranged)
        return
    if address := match["url"] or match["link"]:
        found = resolve_id(normal_url(address), sources)
        if found[1]:
            yield found
        elif "://" in address and sources.addressed:
            yield address, False  # an invented address
        if found[1] or match["link"] or sources.addressed:
            return
    if numbers := match["numbers"] or match["sup"]:
        yield from _read_numbers(numbers, sources, ranged)
    elif match["super"]:
        yield from _read_numbers(match["super"].translate(_SUPERSCRIPTS), sources, ranged)
    elif match["wide"]:
        if re.fullmatch(_LIST, match["wide"], re.IGNORECASE):
            yield from _read_numbers(match["wide"], sources, ranged)
        else:
            yield from _read_names(match["wide"], sources, certain=bool(match["dagger"]))
    elif match["ids"]:
        yield from _read_names(match["ids"], sources, certain=False)


def _read_known(match: re.Match[str], sources: Sources, ranged: int) -> Sequence[tuple[str, bool]]:
    """What cites only where a source has it: mere addresses, and "(Source 1)"."""
    if address := match["href"] or match["bare"]:
        found = [resolve_id(normal_url(address.rstrip(_STOPS)), sources)]
    else:
        found = list(_read_numbers(match["said"], sources, ranged))
    return found if all(known for _, known in found) else ()


def _read_numbers(text: str, sources: Sources, ranged: int) -> Iterator[tuple[str, bool]]:
    for item in _ITEM.finditer(text):
        if item["one"]:
            yield resolve_id(str(int(item["one"])), sources)
            continue
        low, high = int(item["low"]), int(item["high"])
        numbers = range(low, high + 1) if low <= high <= low + _WIDEST_RANGE else (low, high)
        if len(numbers) > ranged:
            numbers = (low, high)
        yield from (resolve_id(str(number), sources) for number in numbers)


def _read_names(text: str, sources: Sources, *, certain: bool) -> Iterator[tuple[str, bool]]:
    """Ids between brackets, which are text where the tool output defines none of them."""
    names = [resolve_id(name, sources) for name in _BETWEEN.split(text.strip()) if name]
    if certain or any(known for _, known in names):
        yield from names


def skip_silent(
    matches: Iterator[re.Match[str]], text: str, block: Span, lines: Sequence[Line]
) -> Iterator[re.Match[str]]:
    """The matches, given in order, that are outside code, formulas and cited quotations."""
    silent: Sequence[Span] | None = None
    at = 0
    for match in matches:
        silent = _find_silent(text, block, lines) if silent is None else silent
        while at < len(silent) and silent[at][1] <= match.start():
            at += 1
        if at == len(silent) or match.end() <= silent[at][0]:
            yield match


def _find_silent(text: str, block: Span, lines: Sequence[Line]) -> Sequence[Span]:
    """Code, formulas and quotations that are cited as a whole, by their beginning."""
    fenced = (LineKind.CODE, LineKind.FORMULA)
    spans = [(line.start, line.end) for line in lines if line.kind in fenced]
    spans += (code.span() for code in _INLINE_CODE.finditer(text, *block))
    for quotation in _QUOTATION.finditer(text, *block):
        behind = _GAP.match(text, quotation.end(), block[1])
        if _MARKER.match(text, behind.end() if behind else quotation.end(), block[1]):
            spans.append(quotation.span())
    return sorted(spans)
