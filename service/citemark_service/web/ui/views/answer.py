"""An answer with its claims marked and linked to the sources that they cite. Pure.

Ids are a policy's own text, so a source is linked by its number, never by its id.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from citemark_schemas import ClaimScore, Rollout, ScoreResult
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.explanation import Level, level_of, sign_of
from citemark_service.web.ui.views.lists import Grade, grade

ANSWER_CHARS: Final = 60_000
"""What is shown of a response, from the answer block's start."""
_SOURCE_CHARS: Final = 6_000
_SOURCES: Final = 300
_IDS: Final = 40
_OPENED: Final = re.compile(r"<answer\s{0,9}>$", re.IGNORECASE)
_CLOSED: Final = re.compile(r"^</answer\s{0,9}>", re.IGNORECASE)
_OUTER_TAGS: Final = re.compile(r"^<snippet\b[^<>]{0,2000}>|</snippet\s{0,9}>$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Citation:
    """One id that a claim wrote."""

    id: str
    source: int | None
    """The number of the source; None for an id that no source has."""
    judged: bool
    contributing: Grade | None


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the answer: plain text, a claim, or a sentence outside the claim tags."""

    text: str
    kind: str = "plain"
    number: int = 0
    sign: str = ""
    level: Level = Level.UNKNOWN
    note: str = ""
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """One source as the tool output defines it."""

    number: int
    id: str
    text: str
    cut: int
    """Characters that are not shown."""
    claims: tuple[int, ...]
    """The numbers of the claims that cite it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A response, ready to be read."""

    before: str
    """What stands before the answer block: the policy's reasoning, which is never judged."""
    pieces: tuple[Piece, ...]
    after: str
    cut: int
    """Characters of the answer that are not shown."""
    cited: tuple[Source, ...]
    uncited: tuple[Source, ...]
    hidden: int
    """Sources that are not listed."""
    citations: tuple[tuple[Citation, ...], ...] = field(default=())
    """Of each claim, in the order of the result."""


def shown(rollout: Rollout, result: ScoreResult) -> Shown:
    """The parts of a rollout's response and its sources."""
    sources = read_sources(rollout.tool_output, rollout.snippets)
    numbers = {name: at for at, name in enumerate(sources.by_id, start=1)}
    citations = tuple(_citations(claim, numbers) for claim in result.claims)
    response = rollout.response
    start, end = read_answer(response).span
    if end <= start:
        start, end = 0, len(response)
    stop = min(end, start + ANSWER_CHARS)
    listed = _listed(sources, numbers, result)
    return Shown(
        before=_OPENED.sub("", response[:start][-ANSWER_CHARS:]),
        pieces=tuple(_pieces(response, start, stop, result, citations)),
        after=_CLOSED.sub("", response[end:][:ANSWER_CHARS]),
        cut=end - stop,
        cited=tuple(source for source in listed if source.claims),
        uncited=tuple(source for source in listed if not source.claims),
        hidden=len(sources.by_id) - len(listed),
        citations=citations,
    )


def _citations(claim: ClaimScore, numbers: Mapping[str, int]) -> tuple[Citation, ...]:
    judged = set(claim.judged)
    return tuple(
        Citation(
            id=name,
            source=numbers.get(name),
            judged=name in judged,
            contributing=grade(claim.contributing[name]) if name in claim.contributing else None,
        )
        for name in claim.ids[:_IDS]
    )


def _pieces(
    response: str,
    start: int,
    stop: int,
    result: ScoreResult,
    citations: Sequence[tuple[Citation, ...]],
) -> Iterator[Piece]:
    at = start
    marks = _marked(response, stop, result, citations)
    for begin, end, piece in sorted(marks, key=lambda mark: mark[:2]):
        if begin < at:
            continue
        if response[at:begin]:
            yield Piece(response[at:begin])
        yield piece
        at = end
    if at < stop:
        yield Piece(response[at:stop])


def _marked(
    response: str,
    stop: int,
    result: ScoreResult,
    citations: Sequence[tuple[Citation, ...]],
) -> Iterator[tuple[int, int, Piece]]:
    """What ends where the shown part does, or before: the rest could be long, many times over."""
    for number, claim in enumerate(result.claims, start=1):
        if claim.span[1] > stop:
            continue
        text = _OUTER_TAGS.sub("", response[slice(*claim.span)])
        sign, level = sign_of(claim.support), level_of(claim.support)
        note = f"{claim.malformed} tag" if claim.malformed else _SUPPORT[level]
        piece = Piece(text, "claim", number, sign, level, note, citations[number - 1])
        yield *claim.span, piece
    for sentence in result.uncited:
        states = sentence.factual is None or sentence.factual >= 0.5
        if states and sentence.span[1] <= stop:
            text = response[slice(*sentence.span)]
            sign = "?" if sentence.factual is None else "✗"
            note = "not judged" if sentence.factual is None else "states a fact, cites nothing"
            yield *sentence.span, Piece(text, "uncited", sign=sign, note=note)


_SUPPORT: Final = {
    Level.GOOD: "supported",
    Level.FAIR: "partly supported",
    Level.POOR: "not supported",
    Level.UNKNOWN: "not judged",
}


def _listed(
    sources: Sources, numbers: Mapping[str, int], result: ScoreResult
) -> tuple[Source, ...]:
    """The cited sources and, as far as there is room, the others, in order of appearance."""
    citing: dict[str, list[int]] = {}
    for at, claim in enumerate(result.claims, start=1):
        for name in claim.ids[:_IDS]:
            citing.setdefault(name, []).append(at)
    cited = [name for name in numbers if name in citing]
    others = [name for name in numbers if name not in citing]
    chosen = [*cited, *others][:_SOURCES]
    return tuple(
        Source(
            number=numbers[name],
            id=name,
            text=sources.by_id[name].text.strip()[:_SOURCE_CHARS],
            cut=max(0, len(sources.by_id[name].text) - _SOURCE_CHARS),
            claims=tuple(citing.get(name, ())[:_IDS]),
        )
        for name in chosen
    )
