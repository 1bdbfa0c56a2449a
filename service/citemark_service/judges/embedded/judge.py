"""The embedded judge: deterministic, instant, without model or network.

It compares words. Use it for first steps and tests, not for training: a policy can learn to
exploit a word count. A criterion about the answer's form is matched by its words to an `Aspect`,
which measures the answer. Any other criterion asks for content: whether the answer says what it
names.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from citemark_schemas import Criterion, CriterionVerdict, Polarity, SentenceVerdict, Source
from citemark_service.judges.embedded.statements import (
    AnswerLayout,
    coverage,
    index_sources,
    judge_claim,
    lay_out_answer,
    missing_share,
    read_subject,
    relevance,
    substance,
    support,
)
from citemark_service.judges.embedded.words import (
    ABOUT_TEXT,
    GENERIC,
    Terms,
    read_lexemes,
    read_terms,
    stem_list,
)
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
)

_BLOCK_WORDS = 30  # about one long sentence of a source
_MAX_BLOCKS = 200
_TOLD = 0.7  # share of a block's words that the answer must have to cover the block
# Each _HALF_ is the amount at which a saturating score x / (x + half) reaches 0.5.
_HALF_PADDED = 2.0  # statements
_HALF_COMPLETE = 0.2  # share of the sources: an answer need not repeat them
_HALF_USEFUL = 40  # new words, about three sentences
_FORMAL_SHARE = 0.8  # least share of a formal criterion's words that are about texts or aspects
_QUOTE_CHARS = 300

# "Fails to mention X", "does not state X", "omits X": the criterion is about X's absence. Only
# at its beginning; further on such words belong to what the criterion names.
_ABSENCE = re.compile(
    r"\b(?:does(?:\s+not|n['’]t)|fail(?:s|ed)?\s+to|omit(?:s|ted)?|lacks?|never|avoids?)\b",
    re.IGNORECASE,
)
_OPENING_CHARS = 60

Presence = tuple[float, str | None]
"""How far something is present, in [0, 1], and a quote of the statement that shows it best."""


def judge_criterion(criterion: Criterion, answer: AnswerLayout) -> CriterionVerdict:
    aspect = find_aspect(criterion)
    measured = aspect.measure(answer) if aspect else mention(criterion.description, answer)
    score, quote = measured
    # A defect's measure inverted is the score of the quality that is its opposite.
    if aspect and aspect.defect != (criterion.polarity is Polarity.NEGATIVE):
        return CriterionVerdict(score=1.0 - score)
    if not quote:
        return CriterionVerdict(score=score)
    return CriterionVerdict(score=score, evidence=quote[:_QUOTE_CHARS], evidence_found=True)


def mention(description: str, answer: AnswerLayout) -> Presence:
    """How far the answer says what the description names, or omits it if it asks for omission."""
    absent = _ABSENCE.search(description[:_OPENING_CHARS]) is not None
    terms = read_terms(description)
    # Words about answers ("the answer states that") are not looked for.
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
        return 1.0 - present, None
    values = [support(terms, [statement.passage]) for statement in answer.statements]
    return present, _find_quote(answer, values)


def _find_quote(answer: AnswerLayout, values: Sequence[float]) -> str | None:
    highest = max(values)
    return answer.statements[values.index(highest)].quote if highest > 0 else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _any_and_many(answer: AnswerLayout, values: Sequence[float]) -> Presence:
    """A defect counts half by its worst statement and half by the mean over all."""
    return (max(values) + _mean(values)) / 2, _find_quote(answer, values)


def _repeated_shares(answer: AnswerLayout) -> list[float]:
    """For each statement the share of its words that earlier statements have."""
    said: set[str] = set()
    shares = []
    for statement in answer.statements:
        own = statement.terms.weights.keys()
        shares.append(len(own & said) / len(own) if own else 1.0)
        said |= own
    return shares


def padding(answer: AnswerLayout) -> Presence:
    """Irrelevant, empty or repeated statements: mean of their share and their amount."""
    values = []
    for statement, repeated in zip(answer.statements, _repeated_shares(answer), strict=True):
        cited = statement.cited if statement.claimed else ()
        relevant = relevance(answer.subject, statement.terms, statement.passage, cited)
        # Statements on one subject share words: only above 3/4 repeated is one called repetition.
        said_again = max(0.0, 4.0 * repeated - 3.0)
        values.append(max(1.0 - substance(statement.terms) * relevant, said_again))
    amount = sum(values) / (sum(values) + _HALF_PADDED)
    return (_mean(values) + amount) / 2, _find_quote(answer, values)


def repetition(answer: AnswerLayout) -> Presence:
    values = _repeated_shares(answer)
    return max(values), _find_quote(answer, values)


def _unknown_share(answer: AnswerLayout, terms: Terms) -> float:
    """Share of the names and numbers that neither question nor sources have."""
    named = terms.names | terms.numbers
    new = named - answer.subject.question.weights.keys()
    missing = missing_share(sorted(new), [answer.every])
    return missing * len(new) / len(named) if named else 0.0


def measure_unsupported(answer: AnswerLayout) -> Presence:
    statements = answer.statements
    if answer.source_texts:
        return _any_and_many(answer, [1.0 - support(one.terms, one.cited) for one in statements])
    # Without sources nothing can be checked: the most specific words are the most doubtful.
    values = [_unknown_share(answer, statement.terms) for statement in statements]
    named = frozenset().union(*(one.terms.names | one.terms.numbers for one in statements))
    unknown = named - answer.subject.question.weights.keys()
    return len(unknown) / len(named) if named else 0.0, _find_quote(answer, values)


def invention(answer: AnswerLayout) -> Presence:
    """Names and numbers that neither the question nor any source has."""
    values = []
    for statement in answer.statements:
        unknown = _unknown_share(answer, statement.terms)
        # Worse where the sources have the rest of the statement: a name or number was swapped.
        swapped = (unknown + coverage(statement.terms, [answer.every])) / 2 if unknown else 0.0
        values.append(swapped)
    return _any_and_many(answer, values)


def indiscipline(answer: AnswerLayout) -> Presence:
    """Facts outside claim tags, invalid or irrelevant ids, and failed format checks."""
    values = []
    for statement in answer.statements:
        if not statement.claimed:
            values.append(substance(statement.terms))
            continue
        # Half a support makes a source relevant; whether the statement is true is not asked here.
        bearing = [min(1.0, 2.0 * support(statement.terms, [one])) for one in statement.cited]
        values.append(1.0 - statement.valid_share * _mean(bearing) if bearing else 1.0)
    return max(_mean(values), 1.0 - answer.bonus), _find_quote(answer, values)


def usefulness(answer: AnswerLayout) -> Presence:
    """Distinct specific words beyond the question's, with diminishing returns."""
    new = {stem for statement in answer.statements for stem in statement.terms.specific}
    count = len(new - answer.subject.question.weights.keys())
    return count / (count + _HALF_USEFUL), None


def completeness(answer: AnswerLayout) -> Presence:
    """Share of the sources that the answer covers; without sources, `usefulness`."""
    texts = [
        " ".join(words[start : start + _BLOCK_WORDS])
        for words in map(str.split, answer.source_texts)
        for start in range(0, len(words), _BLOCK_WORDS)
    ][:_MAX_BLOCKS]
    if not texts:
        return usefulness(answer)
    told = sum(coverage(read_terms(text), [answer.whole]) >= _TOLD for text in texts) / len(texts)
    return told / (told + _HALF_COMPLETE), None


class Aspect(NamedTuple):
    """A quality or a defect of form, and the words by which a criterion refers to it."""

    measure: Callable[[AnswerLayout], Presence]
    stems: frozenset[str]
    defect: bool = True


# The first match wins, so the more specific come first.
_ASPECTS = (
    Aspect(indiscipline, stem_list("citation citations cite cites cited citing uncited")),
    Aspect(invention, stem_list("confabulation confabulated confabulates entity entities")),
    Aspect(
        padding,
        stem_list("""padding padded irrelevant query off uninformative unimportant filler
        tangential"""),
    ),
    Aspect(
        repetition,
        stem_list("""redundancy redundant repeat repeats repeated repetition repetitive
        duplicate"""),
    ),
    Aspect(
        measure_unsupported,
        stem_list("""unsupported verified unverified unverifiable contradict contradicts
        hallucination hallucinated hallucinates fabricated incorrect inaccurate error errors
        false invented"""),
    ),
    Aspect(completeness, stem_list("completeness complete comprehensive includes"), defect=False),
    Aspect(usefulness, stem_list("usefulness useful helpful helpfulness"), defect=False),
)
_FORMAL = ABOUT_TEXT.union(*(aspect.stems for aspect in _ASPECTS))


def find_aspect(criterion: Criterion) -> Aspect | None:
    """The aspect of form that a criterion asks for, or None where it asks for content."""
    title, description = (
        [word.stem for word in read_lexemes(text) if not word.stop and word.stem not in GENERIC]
        for text in (criterion.title, criterion.description)
    )
    # Static criteria are known to be about form; a row's own may merely contain such a word.
    if criterion.source is Source.INSTANCE:
        formal = sum(stem in _FORMAL for stem in description)
        if not description or formal < _FORMAL_SHARE * len(description):
            return None
    matching = (
        aspect
        for stems in (title, description)
        for aspect in _ASPECTS
        if not aspect.stems.isdisjoint(stems)
    )
    return next(matching, None)


class EmbeddedJudge(Judge):
    """A `Judge` that never fails and costs nothing; works in a thread, off the event loop."""

    # To be changed whenever a score may change.
    identity = JudgeIdentity(model="embedded", prompts="embedded-1")
    instant = True

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        del meter, deadline
        return await asyncio.to_thread(_judge_criteria, task)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        del meter, deadline
        return await asyncio.to_thread(_judge_citations, task)


def build(_settings: object, **_collaborators: object) -> EmbeddedJudge:
    return EmbeddedJudge()


def _judge_criteria(task: CriteriaTask) -> tuple[CriterionVerdict, ...]:
    answer = lay_out_answer(task)
    return tuple(judge_criterion(criterion, answer) for criterion in task.criteria)


def _judge_citations(task: CitationTask) -> CitationVerdicts:
    passages = index_sources(task.sources, (one for cited in task.claims for one in cited.ids))
    subject = read_subject(task.question, task.conversation, passages.values())
    sentences = []
    for sentence in task.sentences:
        # Any sentence with specific words states something; a question does not.
        factual = read_terms(sentence.text).specific and not sentence.text.rstrip().endswith("?")
        sentences.append(SentenceVerdict(factual=1.0 if factual else 0.0))
    claims = tuple(judge_claim(claim, subject, passages) for claim in task.claims)
    return CitationVerdicts(claims, tuple(sentences))
