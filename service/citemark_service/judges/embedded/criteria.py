"""Criteria judged without a language model. Pure.

A criterion that speaks of the answer's form is matched by its words to an aspect, which gives
every statement of the answer a value in [0, 1]. One that names anything of the world asks for
content: whether the answer says what it names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from citemark_schemas import Criterion, CriterionVerdict, Polarity, Source
from citemark_service.judges.embedded.statements import (
    AnswerLayout,
    coverage,
    missing_share,
    relevance,
    substance,
    support,
)
from citemark_service.judges.embedded.words import (
    ABOUT_TEXT,
    GENERIC,
    Terms,
    content_stems,
    read_terms,
    stem_list,
)

# A block, about one long sentence of a source, is told when the answer has most of its words.
_TOLD = 0.7
_BLOCK_WORDS = 30
_MAX_BLOCKS = 200
# Two statements' worth of padding are halfway to the worst, whatever the length of the rest.
_HALF_PADDED = 2.0
# An answer need not retell its sources: a fifth of them told is halfway to complete.
_HALF_COMPLETE = 0.2
# New words at which an answer is halfway to saying much; about three sentences.
_HALF_USEFUL = 40
# A formal criterion may use one word in five that is neither about texts nor an aspect's.
_FORMAL_SHARE = 0.8
_QUOTE_CHARS = 300

# "Fails to mention X", "does not state X", "omits X": the criterion is about X's absence.
_ABSENCE = re.compile(
    r"\b(?:does(?:\s+not|n['’]t)|fail(?:s|ed)?\s+to|omit(?:s|ted)?|lacks?|never|avoids?)\b",
    re.IGNORECASE,
)
# Such words open a criterion; further on they belong to what it names.
_OPENING_CHARS = 60


@dataclass(frozen=True, slots=True)
class Presence:
    """How far something is present, in [0, 1], and the statement that shows it best."""

    score: float
    quote: str | None


def judge_criterion(criterion: Criterion, answer: AnswerLayout) -> CriterionVerdict:
    """One criterion: by its aspect of form where it has one, else by what it names."""
    aspect = find_aspect(criterion)
    presence = aspect.measure(answer) if aspect else mention(criterion.description, answer)
    if aspect and aspect.defect != (criterion.polarity is Polarity.NEGATIVE):
        return CriterionVerdict(score=1.0 - presence.score)
    if not presence.quote:
        return CriterionVerdict(score=presence.score)
    quote = presence.quote[:_QUOTE_CHARS]
    return CriterionVerdict(score=presence.score, evidence=quote, evidence_found=True)


def mention(description: str, answer: AnswerLayout) -> Presence:
    """How far the answer says what the description names, or leaves it out where it asks that."""
    absent = _ABSENCE.search(description[:_OPENING_CHARS]) is not None
    terms = read_terms(description)
    # Without its words about answers ("the answer states that").
    weights = {stem: weight for stem, weight in terms.weights.items() if stem not in ABOUT_TEXT}
    if weights:
        terms = replace(
            terms,
            weights=weights,
            pairs=tuple(pair for pair in terms.pairs if set(pair) <= weights.keys()),
            names=terms.names & weights.keys(),
            negated=terms.negated and not absent,
        )
    present = support(terms, [answer.whole])
    if absent:
        return Presence(1.0 - present, None)
    values = [support(terms, [statement.passage]) for statement in answer.statements]
    return _shown_by(answer, values, present)


def _shown_by(answer: AnswerLayout, values: Sequence[float], score: float) -> Presence:
    """The score with the first statement of the highest value, if that is above 0."""
    best = max(range(len(values)), key=lambda place: (values[place], -place))
    return Presence(score, answer.statements[best].quote if values[best] > 0 else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _any_and_many(answer: AnswerLayout, values: Sequence[float]) -> Presence:
    """A defect is there as soon as one statement shows it, and more so the more do."""
    return _shown_by(answer, values, (max(values) + _mean(values)) / 2)


def _repeated_shares(answer: AnswerLayout) -> list[float]:
    """For each statement the share of its words that earlier ones have said."""
    said: set[str] = set()
    shares = []
    for statement in answer.statements:
        own = statement.terms.weights.keys()
        shares.append(len(own & said) / len(own) if own else 1.0)
        said |= own
    return shares


def padding(answer: AnswerLayout) -> Presence:
    """Statements beside the question, empty or said before: mean of their share and amount."""
    values = []
    for statement, repeated in zip(answer.statements, _repeated_shares(answer), strict=True):
        cited = statement.cited if statement.claimed else ()
        relevant = relevance(answer.subject, statement.terms, statement.passage, cited)
        # Telling of one subject repeats words; a statement is old when few of its words are new.
        said_again = max(0.0, 4.0 * repeated - 3.0)
        values.append(max(1.0 - substance(statement.terms) * relevant, said_again))
    amount = sum(values) / (sum(values) + _HALF_PADDED)
    return _shown_by(answer, values, (_mean(values) + amount) / 2)


def repetition(answer: AnswerLayout) -> Presence:
    """The statement of whose words earlier ones have said most."""
    values = _repeated_shares(answer)
    return _shown_by(answer, values, max(values))


def _unknown_share(answer: AnswerLayout, terms: Terms) -> float:
    """Share of names and numbers that neither question nor sources have."""
    named = terms.names | terms.numbers
    new = named - answer.subject.question.weights.keys()
    missing = missing_share(sorted(new), [answer.every])
    return missing * len(new) / len(named) if named else 0.0


def measure_unsupported(answer: AnswerLayout) -> Presence:
    """Statements that their sources do not support.

    Without sources nothing can be checked; then it is the share of names and numbers that the
    question does not have, since what is most specific is most doubtful.
    """
    statements = answer.statements
    if answer.source_texts:
        return _any_and_many(answer, [1.0 - support(one.terms, one.cited) for one in statements])
    values = [_unknown_share(answer, statement.terms) for statement in statements]
    named = frozenset().union(*(one.terms.names | one.terms.numbers for one in statements))
    unknown = named - answer.subject.question.weights.keys()
    return _shown_by(answer, values, len(unknown) / len(named) if named else 0.0)


def invention(answer: AnswerLayout) -> Presence:
    """Names and numbers that neither the question nor any source has."""
    values = []
    for statement in answer.statements:
        unknown = _unknown_share(answer, statement.terms)
        # Worse where the rest of the statement is in the sources: there one was swapped.
        swapped = (unknown + coverage(statement.terms, [answer.every])) / 2 if unknown else 0.0
        values.append(swapped)
    return _any_and_many(answer, values)


def indiscipline(answer: AnswerLayout) -> Presence:
    """Facts outside tags, ids that do not exist or do not bear, and failed format checks."""
    values = []
    for statement in answer.statements:
        if not statement.claimed:
            values.append(substance(statement.terms))
            continue
        # Half a support is enough to bear on a statement; whether it is true is not asked here.
        bearing = [min(1.0, 2.0 * support(statement.terms, [one])) for one in statement.cited]
        values.append(1.0 - statement.valid_share * _mean(bearing) if bearing else 1.0)
    return _shown_by(answer, values, max(_mean(values), 1.0 - answer.bonus))


def usefulness(answer: AnswerLayout) -> Presence:
    """How much the answer says beyond the question: its distinct words, with falling returns."""
    new = {stem for statement in answer.statements for stem in statement.terms.specific}
    count = len(new - answer.subject.question.weights.keys())
    return Presence(count / (count + _HALF_USEFUL), None)


def completeness(answer: AnswerLayout) -> Presence:
    """How much of the sources the answer tells; without sources, how much it says."""
    tokens = (text.split() for text in answer.source_texts)
    texts = [
        " ".join(words[start : start + _BLOCK_WORDS])
        for words in tokens
        for start in range(0, len(words), _BLOCK_WORDS)
    ][:_MAX_BLOCKS]
    if not texts:
        return usefulness(answer)
    told = sum(coverage(read_terms(text), [answer.whole]) >= _TOLD for text in texts) / len(texts)
    return Presence(told / (told + _HALF_COMPLETE), None)


@dataclass(frozen=True, slots=True)
class Aspect:
    """A quality or a defect of form, and the words by which criteria speak of it."""

    measure: Callable[[AnswerLayout], Presence]
    stems: frozenset[str]
    defect: bool = True


# In the order in which they are looked for: the more particular first.
ASPECTS = (
    Aspect(indiscipline, stem_list("citation citations cite cites cited citing uncited")),
    Aspect(invention, stem_list("confabulation confabulated confabulates entity entities")),
    Aspect(
        padding,
        stem_list(
            "padding padded irrelevant query off uninformative unimportant filler tangential"
        ),
    ),
    Aspect(
        repetition,
        stem_list("redundancy redundant repeat repeats repeated repetition repetitive duplicate"),
    ),
    Aspect(
        measure_unsupported,
        stem_list(
            """unsupported verified unverified unverifiable contradict contradicts hallucination
            hallucinated hallucinates fabricated incorrect inaccurate error errors false invented"""
        ),
    ),
    Aspect(completeness, stem_list("completeness complete comprehensive includes"), defect=False),
    Aspect(usefulness, stem_list("usefulness useful helpful helpfulness"), defect=False),
)
_FORMAL = ABOUT_TEXT.union(*(aspect.stems for aspect in ASPECTS))


def find_aspect(criterion: Criterion) -> Aspect | None:
    """The aspect of form that a criterion asks for, or None where it asks for content.

    Static criteria are known to be about form and say so in their title; a row's own criterion
    counts as formal only where its description names nothing else.
    """
    title, description = (
        [stem for stem in content_stems(text) if stem not in GENERIC]
        for text in (criterion.title, criterion.description)
    )
    if criterion.source is Source.INSTANCE:
        formal = sum(stem in _FORMAL for stem in description)
        if not description or formal < _FORMAL_SHARE * len(description):
            return None
    for stems in (title, description):
        for aspect in ASPECTS:
            if not aspect.stems.isdisjoint(stems):
                return aspect
    return None
