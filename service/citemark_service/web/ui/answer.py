"""An answer with its claims marked, beside the sources that they cite. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from citemark_schemas import ClaimScore, Criterion, Rollout, RubricScore, ScoreResult, SentenceScore
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.sources import read_sources

ANSWER_CHARS: Final = 60_000  # of each part of a response
SHOWN_IDS: Final = 40  # of one claim; also claims of one source
_SOURCES: Final = 300  # shown, those that are not cited only where there is room
_OPENED: Final = re.compile(r"<answer\s{0,9}>$", re.IGNORECASE)
_CLOSED: Final = re.compile(r"^</answer\s{0,9}>", re.IGNORECASE)
_OUTER_TAGS: Final = re.compile(
    r"^<(?:snippet|cite)\b[^<>]{0,2000}>|</(?:snippet|cite)\s{0,9}>$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the answer: a claim, a sentence outside the claim tags, or plain text."""

    text: str
    number: int = 0  # of a claim, from 1
    claim: ClaimScore | None = None
    sentence: SentenceScore | None = None


def mark_answer(rollout: Rollout, result: ScoreResult) -> Mapping[str, Any]:
    """The parts of a response that its page shows.

    `before` and `after` the answer block, which are never judged; `pieces` of the answer, and how
    many of its characters are `cut`; `numbers` of all sources by id, from 1; and `sources`, the
    cited ones first, each with its number and the numbers of the claims that cite it.
    """
    response = rollout.response
    start, end = read_answer(response).span
    if end <= start:
        # There is no answer block.
        start, end = 0, len(response)
    stop = min(end, start + ANSWER_CHARS)
    style = result.knobs.citation_style
    snippets = read_sources(rollout.tool_output, rollout.snippets, style).by_id
    # Pages link a source by its number: its id is the policy's own text.
    numbers = {name: at for at, name in enumerate(snippets, start=1)}
    citing: dict[str, list[int]] = {}
    for at, claim in enumerate(result.claims, start=1):
        for name in claim.ids[:SHOWN_IDS]:
            citing.setdefault(name, []).append(at)
    # Cited ones first; within both, in order of appearance.
    shown = sorted(numbers, key=lambda name: name not in citing)[:_SOURCES]
    sources = [
        {
            "number": numbers[id_],
            "snippet": snippets[id_],
            "claims": citing.get(id_, ())[:SHOWN_IDS],
        }
        for id_ in shown
    ]
    return {
        "before": _OPENED.sub("", response[:start][-ANSWER_CHARS:]),
        "pieces": list(_cut_pieces(response, start, stop, result)),
        "after": _CLOSED.sub("", response[end:][:ANSWER_CHARS]),
        "cut": end - stop,
        "numbers": numbers,
        "sources": sources,
    }


def _cut_pieces(response: str, start: int, stop: int, result: ScoreResult) -> Iterator[Piece]:
    """Marked pieces in order, with the plain text between them."""
    # What ends behind `stop` is not marked: it could be long, many times over.
    marks = [
        (claim.span, Piece(_OUTER_TAGS.sub("", response[slice(*claim.span)]), number, claim))
        for number, claim in enumerate(result.claims, start=1)
        if claim.span[1] <= stop
    ]
    marks += [
        (each.span, Piece(response[slice(*each.span)], sentence=each))
        for each in result.uncited
        if (each.factual is None or each.factual >= 0.5) and each.span[1] <= stop
    ]
    at = start
    for (begin, end), piece in sorted(marks, key=lambda mark: mark[0]):
        # Overlaps the piece before.
        if begin < at:
            continue
        if begin > at:
            yield Piece(response[at:begin])
        yield piece
        at = end
    if at < stop:
        yield Piece(response[at:stop])


def find_criteria(rubrics: Sequence[RubricScore], criteria: Sequence[Criterion]) -> list[str]:
    """The text that each rubric was judged by; empty where that is not known."""
    distinct: dict[tuple[str, str, str], Criterion] = {}
    for criterion in criteria:
        distinct.setdefault(criterion.key, criterion)
    texts: dict[tuple[str, str, str], list[str]] = {}
    for each in reversed(distinct.values()):  # they are taken from the end
        texts.setdefault((each.source, each.polarity, each.title), []).append(each.description)
    # Results hold titles; those of one title stand in the order of their criteria.
    waiting = (texts.get((each.source, each.polarity, each.title)) for each in rubrics)
    return [left.pop() if left else "" for left in waiting]
