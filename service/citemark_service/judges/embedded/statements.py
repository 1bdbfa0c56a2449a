"""Statements of an answer and how far sources support them, by weighted coverage of words. Pure.

Support is a ramp over `0.25 coverage + 0.5 locality + 0.25 adjacency`, reduced for missing
names, missing numbers and a negation that the snippets lack.
"""

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from citemark_schemas import ClaimVerdict, Span, Turn
from citemark_service.judges.embedded.words import (
    MAX_CHARS,
    Passage,
    Terms,
    merge_passages,
    read_passage,
    read_terms,
)
from citemark_service.judges.tasks import CitedClaim, CriteriaTask
from citemark_service.parsing.parsed import Answer, Sources

# Bounds on the work for one rollout, whose length its author chooses.
_MAX_SOURCE_CHARS = 400_000  # more than a refiner's prompt holds
_MAX_STATEMENTS = 100
_MAX_COPIES = 5
_MAX_CITED = 20
_MIN_SPAN = 20  # words; a window for short claims
# Below a fifth shared words are chance; with a tenth paraphrased it still is full support.
_FLOOR, _CEILING = 0.2, 0.9
# Relative to the share of the question's words in the best source: ordinary claims use few of
# the question's words.
_CHANCE, _FULLY_RELEVANT = 0.25, 0.5
# Where even the best source has less, the question is worded unlike any text about it.
_LEAST_REACH = 0.2
# The reach where there is no source: few texts use all of a question's words.
_USUAL_REACH = 0.75
_SAID_CHARS = 1_000  # before the question; more would make any answer look irrelevant


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _credit(stem: str, passages: Sequence[Passage]) -> float:
    return max((passage.credit(stem) for passage in passages), default=0.0)


def coverage(terms: Terms, passages: Sequence[Passage]) -> float:
    """Share in [0, 1] of the terms' weight that occurs in the passages; 0 without terms."""
    total = sum(terms.weights.values())
    found = sum(weight * _credit(stem, passages) for stem, weight in terms.weights.items())
    return found / total if total else 0.0


def missing_share(stems: Sequence[str], passages: Sequence[Passage]) -> float:
    """Share in [0, 1] of the stems that no passage has; 0 for none."""
    missing = sum(1.0 - _credit(stem, passages) for stem in stems)
    return missing / len(stems) if stems else 0.0


def _best_window(terms: Terms, passage: Passage) -> tuple[float, bool]:
    """The largest share of the terms' weight within a span, and whether it has a negation."""
    # Spans are two blocks long and start at every block, so that each window of one block's
    # length lies whole within a span.
    half = max(_MIN_SPAN, terms.length)
    spans: dict[int, set[str]] = defaultdict(set)
    for stem in terms.weights:
        for place in passage.positions.get(stem, ()):
            spans[place // half].add(stem)
            spans[place // half - 1].add(stem)
    if not spans:
        return 0.0, False
    total = sum(terms.weights.values())
    # Sorted: a sum of floats depends on its order, and a set's order differs between processes.
    shares = {
        start: sum(terms.weights[stem] for stem in sorted(found)) / total
        for start, found in spans.items()
    }
    best = max(shares, key=lambda start: (shares[start], -start))
    return shares[best], any(best <= place // half <= best + 1 for place in passage.negations)


def _adjacency(terms: Terms, passages: Sequence[Passage]) -> float:
    """Share in [0, 1] of the terms' neighbouring pairs that are neighbours in a passage too."""
    if not terms.pairs:
        return coverage(terms, passages)
    hits = sum(
        any(pair in one.pairs or pair[::-1] in one.pairs for one in passages)
        for pair in terms.pairs
    )
    return hits / len(terms.pairs)


def support(terms: Terms, passages: Sequence[Passage]) -> float:
    """Support in [0, 1] of a claim by its passages jointly; 0 without passages or terms."""
    if not terms.weights or not passages:
        return 0.0
    locality, denied = max(_best_window(terms, passage) for passage in passages)
    evidence = (
        0.25 * coverage(terms, passages) + 0.5 * locality + 0.25 * _adjacency(terms, passages)
    )
    # Missing names, missing numbers and a missing negation can each halve what is left.
    names = 1.0 - 0.5 * missing_share(sorted(terms.names - terms.numbers), passages)
    numbers = 1.0 - 0.5 * missing_share(sorted(terms.numbers), passages)
    denial = 0.5 if terms.negated and not denied else 1.0
    return _ramp(evidence * (names * numbers * denial), _FLOOR, _CEILING)


@dataclass(frozen=True, slots=True)
class Subject:
    """A question, and the share in (0, 1] of its words that the best source has."""

    question: Terms
    reach: float


def read_subject(
    question: str, conversation: Sequence[Turn], sources: Iterable[Passage]
) -> Subject:
    """What the question is about; what its user said before says what it leaves out."""
    said = "\n".join(turn.content for turn in conversation if turn.role == "user")
    terms = read_terms(f"{said[-_SAID_CHARS:]}\n{question}" if said else question)
    best = max((coverage(terms, [source]) for source in sources), default=_USUAL_REACH)
    return Subject(terms, max(best, _LEAST_REACH))


def relevance(subject: Subject, terms: Terms, own: Passage, cited: Sequence[Passage]) -> float:
    """Relevance in [0, 1] of a statement, with its cited sources, to the question.

    It is the share of the question's words that they have, relative to the best source's share;
    1 for a question without content words.
    """
    question = subject.question
    if not question.weights:
        return 1.0
    # Each source is weighted by how much of the statement it has: citing an unrelated source
    # that repeats the question must not help.
    bearing = [coverage(terms, [one]) for one in cited]
    shares = [coverage(question, [own, one]) for one in cited]
    if total := sum(bearing):
        share = sum(map(operator.mul, bearing, shares)) / total
    else:
        share = coverage(question, [own])
    return _ramp(share / subject.reach, _CHANCE, _FULLY_RELEVANT)


def substance(terms: Terms) -> float:
    """How much the claim says about the world rather than about texts, in [0, 1]."""
    return min(1.0, len(terms.specific) / 3)  # three words make a statement ("Paris hosted 1900")


def judge_claim(
    cited: CitedClaim, subject: Subject, passages: Mapping[str, Passage]
) -> ClaimVerdict:
    terms = read_terms(cited.claim.text)
    own = {one: passages[one] for one in cited.ids if one in passages}
    together = tuple(own.values())
    contributing = {}
    for one, passage in own.items() if len(own) > 1 else ():
        others = [other for key, other in own.items() if key != one]
        alone = coverage(terms, [passage, *others]) - coverage(terms, others)
        # 1 where it supports the claim alone, or adds a quarter of the words to the others.
        contributing[one] = min(1.0, max(support(terms, [passage]), 4.0 * alone))
    relevant = relevance(subject, terms, read_passage(cited.claim.text), together)
    return ClaimVerdict(
        support=support(terms, together),
        substantive=substance(terms) * relevant,
        contributing=contributing,
    )


@dataclass(frozen=True)
class Statement:
    """A claim of the answer, or a sentence outside the claim tags."""

    quote: str  # verbatim from the answer
    text: str
    cited: tuple[Passage, ...]
    """The sources it cites; for a sentence outside the tags all of them, merged into one."""
    valid_share: float = 0.0  # share in [0, 1] of its ids that the tool output defines
    claimed: bool = False  # whether it is in a well-formed claim tag

    @cached_property
    def terms(self) -> Terms:
        return read_terms(self.text)

    @cached_property
    def passage(self) -> Passage:
        return read_passage(self.text)


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    subject: Subject
    statements: tuple[Statement, ...]  # in order, at least one
    every: Passage  # all sources, merged into one
    source_texts: tuple[str, ...]
    whole: Passage  # the statements together, without markup
    bonus: float  # share of the format checks that pass


def index_sources(sources: Sources, cited: Iterable[str]) -> dict[str, Passage]:
    """Index the sources by id, the cited ones first; beyond the cap a source counts as empty."""
    passages: dict[str, Passage] = {}
    left = _MAX_SOURCE_CHARS
    for one in dict.fromkeys(chain(cited, sources.by_id)):
        if one in sources.by_id:
            text = sources.by_id[one].text[: min(left, MAX_CHARS)]
            passages[one] = read_passage(text)
            left -= len(text)
    return passages


def lay_out_answer(task: CriteriaTask) -> AnswerLayout:
    """Split the answer into statements and index them and the sources; in linear time."""
    cited = (one for claim in task.answer.claims for one in claim.ids)
    sources = index_sources(task.sources, cited)
    every = merge_passages(sources.values())
    statements = _read_statements(task.answer, sources, every)
    return AnswerLayout(
        subject=read_subject(task.question, task.conversation, sources.values()),
        statements=statements,
        every=every,
        source_texts=tuple(task.sources.by_id[one].text[:MAX_CHARS] for one in sources),
        whole=read_passage("\n".join(statement.quote for statement in statements)),
        bonus=task.format.bonus,
    )


def _read_statements(
    answer: Answer, sources: Mapping[str, Passage], every: Passage
) -> tuple[Statement, ...]:
    placed: list[tuple[Span, Statement]] = []
    for claim in answer.claims[:_MAX_STATEMENTS]:
        valid = [sources[one] for one in claim.ids if one in sources]
        statement = Statement(
            _inner_text(answer, claim.span),
            claim.text,
            cited=tuple(valid[:_MAX_CITED]),
            valid_share=len(valid) / len(claim.ids) if claim.ids else 0.0,
            claimed=claim.malformed is None,
        )
        placed.append((claim.span, statement))
    for sentence in answer.sentences[:_MAX_STATEMENTS]:
        quote = _inner_text(answer, sentence.span)
        placed.append((sentence.span, Statement(quote, sentence.text, (every,))))
    if not placed:
        return (Statement(answer.text.strip(), answer.text, (every,)),)
    statements: list[Statement] = []
    for _, statement in sorted(placed, key=operator.itemgetter(0)):
        # The parser merges equal statements, but repetition counts. `count("")` would be huge.
        copies = answer.text.count(statement.quote) if statement.quote else 1
        statements += [statement] * min(_MAX_COPIES, max(1, copies))
    return tuple(statements[: 2 * _MAX_STATEMENTS])


def _inner_text(answer: Answer, span: Span) -> str:
    """The text of a span, without the notation of a claim."""
    start, end = (place - answer.span[0] for place in span)
    marked = answer.text[start:end]
    if answer.style == "numbered":
        base, pieces = answer.span[0], []
        for mark in answer.marks:
            if start <= mark.start - base < end:
                pieces.append(answer.text[start : mark.start - base])
                start = mark.end - base
        return "".join([*pieces, answer.text[start:end]]).strip()
    if marked.startswith("<"):
        body = marked[marked.find(">") + 1 :]
        marked = body[: body.rindex("<")] if body.endswith(">") and "<" in body else body
    return marked.strip()
