"""Criteria that speak of an answer's form, measured without a language model. Pure.

Each aspect gives every unit of the answer a value in [0, 1]. A criterion is matched to an aspect
by its words; one that names anything of the world is left to `content.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from citemark_schemas import Criterion, Source
from citemark_service.judges.embedded.lexical import read_phrase
from citemark_service.judges.embedded.support import (
    Terms,
    coverage,
    missing_share,
    read_terms,
    relevance,
    substance,
    support,
)
from citemark_service.judges.embedded.survey import Survey, Unit
from citemark_service.judges.embedded.vocabulary import ABOUT_TEXT, GENERIC, stems

# A block, about one long sentence of a source, is told when the answer has most of its words.
_TOLD = 0.7
_BLOCK_WORDS = 30
_MAX_BLOCKS = 200
# Two units' worth of padding are halfway to the worst, whatever the length of the rest.
_HALF_PADDED = 2.0
# An answer need not retell its sources: a fifth of them told is halfway to complete.
_HALF_COMPLETE = 0.2
# New words at which an answer is halfway to saying much; about three sentences.
_HALF_USEFUL = 40


@dataclass(frozen=True, slots=True)
class Finding:
    """How far something is present, in [0, 1], and the unit that shows it best."""

    score: float
    quote: str | None


Measure = Callable[[Survey], Finding]


def _found(survey: Survey, values: Sequence[float], score: float) -> Finding:
    worst = max(range(len(values)), key=lambda place: (values[place], -place))
    return Finding(score, survey.units[worst].quote if values[worst] > 0 else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _any_and_many(survey: Survey, values: Sequence[float]) -> Finding:
    """A defect is there as soon as one unit shows it, and more so the more units do."""
    return _found(survey, values, (max(values) + _mean(values)) / 2)


def _told_before(survey: Survey) -> list[float]:
    """For each unit the share of its words that earlier units have said."""
    said: set[str] = set()
    shares = []
    for unit in survey.units:
        own = unit.terms.weights.keys()
        shares.append(len(own & said) / len(own) if own else 1.0)
        said |= own
    return shares


def _aside(survey: Survey, unit: Unit, told_before: float) -> float:
    """How far a unit is beside the question, empty, or said before."""
    relevant = relevance(
        survey.subject, unit.terms, unit.passage, unit.cited if unit.claimed else ()
    )
    # Telling of one subject repeats words; a statement is old when few of its words are new.
    said_again = max(0.0, 4.0 * told_before - 3.0)
    return max(1.0 - substance(unit.terms) * relevant, said_again)


def padding(survey: Survey) -> Finding:
    """Units beside the question, empty or said before: the mean of their share and their amount."""
    told = _told_before(survey)
    values = [_aside(survey, *both) for both in zip(survey.units, told, strict=True)]
    amount = sum(values) / (sum(values) + _HALF_PADDED)
    return _found(survey, values, (_mean(values) + amount) / 2)


def repetition(survey: Survey) -> Finding:
    """The unit of whose words earlier units have said most."""
    told = _told_before(survey)
    return _found(survey, told, max(told))


def _unknown(survey: Survey, terms: Terms) -> float:
    """Share of names and numbers that neither question nor sources have."""
    named = terms.names | terms.numbers
    new = named - survey.subject.question.weights.keys()
    missing = missing_share(sorted(new), [survey.every])
    return missing * len(new) / len(named) if named else 0.0


def _unsourced(survey: Survey) -> Finding:
    """Without sources nothing can be checked; what is most specific is most doubtful."""
    values = [_unknown(survey, unit.terms) for unit in survey.units]
    named = [unit.terms.names | unit.terms.numbers for unit in survey.units]
    unknown = frozenset().union(*named) - survey.subject.question.weights.keys()
    total = len(frozenset().union(*named))
    return _found(survey, values, len(unknown) / total if total else 0.0)


def unsupported(survey: Survey) -> Finding:
    """Units that their sources do not support; without sources, names and numbers from nowhere."""
    if not survey.source_texts:
        return _unsourced(survey)
    return _any_and_many(survey, [1.0 - support(unit.terms, unit.cited) for unit in survey.units])


def _swapped(survey: Survey, unit: Unit) -> float:
    """Unknown names, worse where the rest of the unit is in the sources: there one was swapped."""
    unknown = _unknown(survey, unit.terms)
    if unknown == 0.0:
        return 0.0
    return (unknown + coverage(unit.terms, [survey.every])) / 2


def invention(survey: Survey) -> Finding:
    """Names and numbers that neither the question nor any source has."""
    return _any_and_many(survey, [_swapped(survey, unit) for unit in survey.units])


def _undisciplined(unit: Unit) -> float:
    if not unit.claimed:
        return substance(unit.terms)
    # Half a support is enough to bear on a statement; whether it is true is not asked here.
    bearing = [min(1.0, 2.0 * support(unit.terms, [one])) for one in unit.cited]
    return 1.0 - unit.valid_share * _mean(bearing) if bearing else 1.0


def indiscipline(survey: Survey) -> Finding:
    """Facts outside tags, ids that do not exist or do not bear, and failed format checks."""
    values = [_undisciplined(unit) for unit in survey.units]
    return _found(survey, values, max(_mean(values), 1.0 - survey.bonus))


def _blocks(survey: Survey) -> list[Terms]:
    blocks: list[Terms] = []
    for text in survey.source_texts:
        tokens = text.split()
        for start in range(0, len(tokens), _BLOCK_WORDS):
            if len(blocks) == _MAX_BLOCKS:
                return blocks
            blocks.append(read_terms(" ".join(tokens[start : start + _BLOCK_WORDS])))
    return blocks


def usefulness(survey: Survey) -> Finding:
    """How much the answer says beyond the question: its distinct words, with falling returns."""
    new = {stem for unit in survey.units for stem in unit.terms.specific}
    count = len(new - survey.subject.question.weights.keys())
    return Finding(count / (count + _HALF_USEFUL), None)


def completeness(survey: Survey) -> Finding:
    """How much of the sources the answer tells; without sources, how much it says."""
    blocks = _blocks(survey)
    if not blocks:
        return usefulness(survey)
    told = sum(coverage(block, [survey.whole]) >= _TOLD for block in blocks) / len(blocks)
    return Finding(told / (told + _HALF_COMPLETE), None)


@dataclass(frozen=True, slots=True)
class Aspect:
    """A quality or a defect of form, and the words by which criteria speak of it."""

    stems: frozenset[str]
    measure: Measure
    defect: bool


# In the order in which they are looked for: the more particular first.
ASPECTS = (
    Aspect(stems("citation citations cite cites cited citing uncited"), indiscipline, True),
    Aspect(stems("confabulation confabulated confabulates entity entities"), invention, True),
    Aspect(
        stems("padding padded irrelevant query off uninformative unimportant filler tangential"),
        padding,
        True,
    ),
    Aspect(
        stems("redundancy redundant repeat repeats repeated repetition repetitive duplicate"),
        repetition,
        True,
    ),
    Aspect(
        stems(
            """unsupported verified unverified unverifiable contradict contradicts hallucination
            hallucinated hallucinates fabricated incorrect inaccurate error errors false invented"""
        ),
        unsupported,
        True,
    ),
    Aspect(stems("completeness complete comprehensive includes"), completeness, False),
    Aspect(stems("usefulness useful helpful helpfulness"), usefulness, False),
)
_FORMAL = ABOUT_TEXT.union(*(aspect.stems for aspect in ASPECTS))
# A formal criterion may use one word in five that is neither about texts nor an aspect's.
_FORMAL_SHARE = 0.8


def _content(text: str) -> list[str]:
    return [word.stem for word in read_phrase(text).content if word.stem not in GENERIC]


def _speaks_of_form(description: str) -> bool:
    content = _content(description)
    formal = sum(stem in _FORMAL for stem in content)
    return bool(content) and formal >= _FORMAL_SHARE * len(content)


def _aspect_in(text: str) -> Aspect | None:
    content = frozenset(_content(text))
    return next((aspect for aspect in ASPECTS if aspect.stems & content), None)


def aspect_of(criterion: Criterion) -> Aspect | None:
    """The aspect of form that a criterion asks for, or None where it asks for content.

    Static criteria are known to be about form and say so in their title; a row's own criterion
    counts as formal only where its description names nothing else.
    """
    if criterion.source is Source.INSTANCE and not _speaks_of_form(criterion.description):
        return None
    return _aspect_in(criterion.title) or _aspect_in(criterion.description)
