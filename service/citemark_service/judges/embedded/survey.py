"""An answer laid out for the embedded judge's criteria: its units beside what they cite. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice

from citemark_schemas import Span
from citemark_service.judges.embedded.lexical import MAX_CHARS, Passage, merge, read_passage
from citemark_service.judges.embedded.support import Subject, Terms, read_subject, read_terms
from citemark_service.judges.protocol import CriteriaTask
from citemark_service.parsing.parsed import Answer, Claim, Sources

# What is read of one rollout: more than a refiner's prompt holds.
_MAX_SOURCE_CHARS = 400_000
_MAX_UNITS = 100
_MAX_COPIES = 5
_MAX_CITED = 20


@dataclass(frozen=True, slots=True)
class Unit:
    """One statement of the answer: a claim, or a sentence outside the claim tags."""

    quote: str
    """As it stands in the answer, character for character."""
    terms: Terms
    passage: Passage
    cited: tuple[Passage, ...]
    """The sources it cites; for a sentence outside the tags all of them, merged into one."""
    valid_share: float
    """Share in [0, 1] of its ids that the tool output defines; 0 for an uncited sentence."""
    claimed: bool
    """It stands in a well-formed claim tag."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that the embedded judge's criteria look at."""

    subject: Subject
    units: tuple[Unit, ...]
    every: Passage
    """All sources, merged into one."""
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
    valid = [one for one in claim.ids if one in sources]
    return Unit(
        quote=_inner(answer, claim.span).strip(),
        terms=read_terms(claim.text),
        passage=read_passage(claim.text),
        cited=tuple(sources[one] for one in valid[:_MAX_CITED]),
        valid_share=len(valid) / len(claim.ids) if claim.ids else 0.0,
        claimed=claim.malformed is None,
    )


def _plain_unit(text: str, quote: str, every: Passage) -> Unit:
    return Unit(
        quote=quote.strip(),
        terms=read_terms(text),
        passage=read_passage(text),
        cited=(every,),
        valid_share=0.0,
        claimed=False,
    )


def _copies(answer: Answer, quote: str) -> int:
    """How often the answer says it: the parser merges equal statements, a reader sees each."""
    return min(_MAX_COPIES, max(1, answer.text.count(quote))) if quote else 1


def _units(answer: Answer, sources: Mapping[str, Passage], every: Passage) -> tuple[Unit, ...]:
    placed = [
        (claim.span, _claim_unit(answer, claim, sources)) for claim in answer.claims[:_MAX_UNITS]
    ]
    for sentence in answer.sentences[:_MAX_UNITS]:
        quote = _inner(answer, sentence.span)
        placed.append((sentence.span, _plain_unit(sentence.text, quote, every)))
    if not placed:
        return (_plain_unit(answer.text, answer.text, every),)
    ordered = (unit for _, unit in sorted(placed, key=lambda pair: pair[0]))
    copied = (unit for unit in ordered for _ in range(_copies(answer, unit.quote)))
    return tuple(islice(copied, 2 * _MAX_UNITS))


def survey(task: CriteriaTask) -> Survey:
    """Lay the task's answer out; linear in what is read of it."""
    cited = (one for claim in task.answer.claims for one in claim.ids)
    sources = read_sources(task.sources, cited)
    every = merge(sources.values())
    units = _units(task.answer, sources, every)
    return Survey(
        subject=read_subject(task.question, sources.values()),
        units=units,
        every=every,
        source_texts=tuple(task.sources.by_id[one].text[:MAX_CHARS] for one in sources),
        whole=read_passage("\n".join(unit.quote for unit in units)),
        bonus=task.format.bonus,
    )
