"""Finds the claim tags of an answer, with their positions and ids.

One name is a claim tag, `snippet` or `cite`; `<snippets …>` and `</snippet_text>` are text. What is
no valid part of a tag is text as well, so that a policy cannot hide facts inside a tag.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

TagName = Literal["snippet", "cite"]

_TAGS: Final = {
    name: re.compile(rf"<(/?)({name})(?=[\s/>])([^<>]*)(>?)", re.IGNORECASE)
    for name in ("snippet", "cite")
}
# The attributes that hold ids; DR Tulu's prompts show both for `cite`.
_ID_NAMES: Final = {"snippet": ("id",), "cite": ("id", "ids")}
# What belongs to an opening tag without `>`: its name and ids; all behind it is text.
_CUT_HEAD = re.compile(
    r"<\w++(?:\s++ids?\s*+=\s*+[^\s,;<>]++(?:\s*+[,;]\s*+[^\s,;<>]++)*+)?", re.IGNORECASE
)
_ATTRIBUTE = re.compile(
    r"""(?<!\S)(?P<name>[a-z_][\w:.-]*+)\s*+=
      | "(?P<double>[^"]*+)"
      | '(?P<single>[^']*+)'
      | (?P<bare>[^\s,;"'][^\s,;]*+)""",
    re.IGNORECASE | re.VERBOSE,
)
# Exactly one id attribute, quoted or not.
_PLAIN = re.compile(r'\s+id=("?)([\w.:-]+(?:,[\w.:-]+)*)\1')
_BETWEEN_IDS = re.compile(r"[\s,;]+")
_QUOTES = "\"'“”‘’"


@dataclass(frozen=True, slots=True)
class Tag:
    """One opening or closing claim tag, `text[start:end]`."""

    start: int
    end: int
    closing: bool
    cut: bool = False
    """An opening tag without `>`; it ends behind its ids."""
    ids: tuple[str, ...] = ()
    junk: bool = False
    """Whether it has attributes other than those of ids."""


def claim_tags(text: str, start: int, end: int, name: TagName = "snippet") -> Iterator[Tag]:
    """The claim tags of `text[start:end]` in order, with positions in `text`."""
    for match in _TAGS[name].finditer(text, start, end):
        if not match[1]:
            yield _opening(match, _ID_NAMES[name])
            continue
        # "</snippet and a fact>" would hide the fact, so such a tag ends behind its name.
        clean = match[4] and not match[3].strip()
        yield Tag(match.start(), match.end() if clean else match.end(2), closing=True)


def _opening(match: re.Match[str], names: tuple[str, ...]) -> Tag:
    cut = not match[4]
    end = match.end()
    if cut and (head := _CUT_HEAD.match(match.string, match.start(), end)):
        end = head.end()
    attributes = match.string[match.end(2) : end].removesuffix(">")
    ids, junk = _read_attributes(
        attributes.removesuffix("/") if _closes(attributes) else attributes, names
    )
    return Tag(match.start(), end, closing=False, cut=cut, ids=ids, junk=junk)


def _closes(attributes: str) -> bool:
    """Whether a final slash belongs to the tag, as in `id="a" /`, and not to an id."""
    return attributes.endswith("/") and attributes[-2:-1] in ("", " ", '"', "'")


def _read_attributes(attributes: str, names: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    if plain := _PLAIN.fullmatch(attributes):  # fast path for nearly all tags
        return tuple(dict.fromkeys(plain[2].split(","))), False
    ids: dict[str, None] = {}
    name, junk = "", False
    for match in _ATTRIBUTE.finditer(attributes):
        if match["name"]:
            name = match["name"].lower()
        if name in names:
            ids.update(dict.fromkeys(_split_ids(match)))
        else:
            junk = True
    return tuple(ids), junk


def _split_ids(match: re.Match[str]) -> Iterator[str]:
    value = match["double"] or match["single"] or match["bare"] or ""
    for part in _BETWEEN_IDS.split(value):
        if written := part.strip(_QUOTES):
            yield written
