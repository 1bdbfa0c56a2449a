"""An answer laid out for the embedded judge's criteria: its units beside what they cite. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from citemark_schemas import Span
from citemark_service.judges.lexical import MAX_CHARS, Passage, read_passage
from citemark_service.judges.protocol import CriteriaTask
from citemark_service.judges.support import Subject, Terms, read_subject, read_terms
from citemark_service.parsed import Answer, Claim, Sources

# What is read of one rollout: more than a refiner's prompt holds.
_MAX_SOURCE_CHARS = 400_000
_MAX_UNITS = 100


@dataclass(frozen=True, slots=True)
class Unit:
    """One statement of the answer: a claim, or a sentence outside the claim tags."""

    quote: str
    """As it stands in the answer, character for character."""
    terms: Terms
    passage: Passage
    cited: tuple[Passage, ...]
    """The sources it cites; all of them for a sentence outside the tags."""
    valid_share: float
    """Share in [0, 1] of its ids that the tool output defines; 0 for an uncited sentence."""
    claimed: bool
    """It stands in a well-formed claim tag."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that the embedded judge's criteria look at."""

    subject: Subject
    units: tuple[Unit, ...]
    sources: Mapping[str, Passage]
    source_texts: tuple[str, ...]
    whole: Passage
    """The units together, without markup."""
    bonus: float
    """Share of the format checks that pass."""


def read_sources(sources: Sources, cited: Iterable[str]) -> dict[str, Passage]:
    """Index the sources by id, the cited ones first; what is beyond the cap is read as empty."""
    wanted = chain(cited, sources.by_id)
    passages: dict[str, Passage] = {}
    left = _MAX_SOURCE_CHARS
    for one in dict.fromkeys(one for one in wanted if one in sources.by_id):
        text = sources.by_id[one].text
        limit = min(left, MAX_CHARS)
        passages[one] = read_passage(text, limit)
        left -= min(len(text), limit)
    return passages


def _inner(answer: Answer, span: Span) -> str:
    """The text of a tag's range without the tag itself, or of a sentence's range."""
    start, end = (place - answer.span[0] for place in span)
    marked = answer.text[start:end]
    if not marked.startswith("<"):
        return marked
    body = marked[marked.find(">") + 1 :]
    return body[: body.rindex("<")] if body.endswith(">") and "<" in body else body


def _claim_unit(answer: Answer, claim: Claim, sources: Mapping[str, Passage]) -> Unit:
    cited = tuple(sources[one] for one in claim.ids if one in sources)
    return Unit(
        quote=_inner(answer, claim.span).strip(),
        terms=read_terms(claim.text),
        passage=read_passage(claim.text),
        cited=cited,
        valid_share=len(cited) / len(claim.ids) if claim.ids else 0.0,
        claimed=claim.malformed is None,
    )


def _plain_unit(text: str, quote: str, sources: Sequence[Passage]) -> Unit:
    return Unit(
        quote=quote.strip(),
        terms=read_terms(text),
        passage=read_passage(text),
        cited=tuple(sources),
        valid_share=0.0,
        claimed=False,
    )


def _units(answer: Answer, sources: Mapping[str, Passage]) -> tuple[Unit, ...]:
    every = tuple(sources.values())
    placed = [
        (claim.span, _claim_unit(answer, claim, sources)) for claim in answer.claims[:_MAX_UNITS]
    ]
    for sentence in answer.sentences[:_MAX_UNITS]:
        quote = _inner(answer, sentence.span)
        placed.append((sentence.span, _plain_unit(sentence.text, quote, every)))
    if not placed:
        return (_plain_unit(answer.text, answer.text, every),)
    return tuple(unit for _, unit in sorted(placed, key=lambda pair: pair[0]))


def survey(task: CriteriaTask) -> Survey:
    """Lay the task's answer out; linear in what is read of it."""
    cited = (one for claim in task.answer.claims for one in claim.ids)
    sources = read_sources(task.sources, cited)
    units = _units(task.answer, sources)
    return Survey(
        subject=read_subject(task.question, sources.values()),
        units=units,
        sources=sources,
        source_texts=tuple(task.sources.by_id[one].text for one in sources),
        whole=read_passage("\n".join(unit.quote for unit in units)),
        bonus=task.format.bonus,
    )
