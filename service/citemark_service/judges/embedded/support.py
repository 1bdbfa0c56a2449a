"""How far snippets support a claim, by weighted coverage of its words. Pure.

The score is a ramp over `0.25 coverage + 0.5 locality + 0.25 adjacency`, cut for missing names,
missing numbers and a denial that the snippets do not make. It sees words, not meaning.
"""

import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from citemark_service.judges.embedded.lexical import Passage, Word, read_phrase
from citemark_service.judges.embedded.vocabulary import ABOUT_TEXT, GENERIC

# A claim is a sentence or two; what follows cannot raise its coverage.
_CLAIM_CHARS = 2_000
# The least span in words within which a claim's words must stand together.
_MIN_SPAN = 20
# Below a fifth, shared words are chance; a tenth of paraphrase still is full support.
_FLOOR, _CEILING = 0.2, 0.9
# Three words of its own make a statement ("Paris hosted 1900").
_FULL_SUBSTANCE = 3
# Of what the best source shares with the question, a quarter is chance and half is enough:
# ordinary claims use few of the question's words.
_CHANCE, _FULLY_RELEVANT = 0.25, 0.5
# Where even the best source shares less, the question is worded unlike any text about it.
_LEAST_REACH = 0.2
# Stands in for the best source where there is none: few texts use all of a question's words.
_USUAL_REACH = 0.75


@dataclass(frozen=True, slots=True)
class Terms:
    """A claim as it is looked for."""

    weights: Mapping[str, float]
    """Content stem to its weight, in order of appearance."""
    pairs: tuple[tuple[str, str], ...]
    names: frozenset[str]
    numbers: frozenset[str]
    negated: bool
    length: int
    """In words, function words included."""

    @property
    def specific(self) -> frozenset[str]:
        """Content that is neither generic nor about texts."""
        return frozenset(self.weights) - GENERIC - ABOUT_TEXT


def _weight(word: Word) -> float:
    # Names and numbers are what a wrong citation gets wrong; generic words are found anywhere.
    if word.number or word.name:
        return 1.5
    return 0.5 if word.stem in GENERIC else 1.0


def read_terms(text: str) -> Terms:
    """Take a claim, a question or a criterion apart."""
    phrase = read_phrase(text, _CLAIM_CHARS)
    weights: dict[str, float] = {}
    for word in phrase.content:
        weights[word.stem] = max(_weight(word), weights.get(word.stem, 0.0))
    return Terms(
        weights=weights,
        pairs=tuple((left.stem, right.stem) for left, right in pairwise(phrase.content)),
        names=frozenset(word.stem for word in phrase.content if word.name),
        numbers=frozenset(word.stem for word in phrase.content if word.number),
        negated=phrase.negated,
        length=phrase.length,
    )


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _credit(stem: str, passages: Sequence[Passage]) -> float:
    return max((passage.credit(stem) for passage in passages), default=0.0)


def coverage(terms: Terms, passages: Sequence[Passage]) -> float:
    """Share in [0, 1] of the terms' weight that the passages have anywhere; 0 without terms."""
    total = sum(terms.weights.values())
    found = sum(weight * _credit(stem, passages) for stem, weight in terms.weights.items())
    return found / total if total else 0.0


def _blocks(terms: Terms, passage: Passage, half: int) -> dict[int, set[str]]:
    """Terms in each block of two halves; blocks overlap by one half, so none cuts a span."""
    blocks: dict[int, set[str]] = defaultdict(set)
    for stem in terms.weights:
        for place in passage.positions.get(stem, ()):
            blocks[place // half].add(stem)
            blocks[place // half - 1].add(stem)
    return blocks


@dataclass(frozen=True, slots=True)
class _Window:
    share: float
    """Weight of the terms in it, in [0, 1]."""
    denies: bool
    """A negation stands in it."""


def _best_window(terms: Terms, passage: Passage) -> _Window:
    half = max(_MIN_SPAN, terms.length)
    blocks = _blocks(terms, passage, half)
    total = sum(terms.weights.values())
    if not blocks:
        return _Window(0.0, denies=False)
    shares = {
        start: sum(terms.weights[stem] for stem in sorted(found)) / total
        for start, found in blocks.items()
    }
    best = max(shares, key=lambda start: (shares[start], -start))
    denies = any(best <= place // half <= best + 1 for place in passage.negations)
    return _Window(shares[best], denies)


def _adjacency(terms: Terms, passages: Sequence[Passage]) -> float:
    if not terms.pairs:
        return coverage(terms, passages)
    known = [passage.pairs for passage in passages]
    hits = sum(
        any((left, right) in pairs or (right, left) in pairs for pairs in known)
        for left, right in terms.pairs
    )
    return hits / len(terms.pairs)


def missing_share(stems: Iterable[str], passages: Sequence[Passage]) -> float:
    """Share in [0, 1] of the stems that no passage has; 0 for none."""
    wanted = tuple(stems)
    missing = sum(1.0 - _credit(stem, passages) for stem in wanted)
    return missing / len(wanted) if wanted else 0.0


def _doubts(terms: Terms, passages: Sequence[Passage], window: _Window) -> float:
    """The factor in (0, 1] that names, numbers and denials leave: each can halve the rest."""
    names = 1.0 - 0.5 * missing_share(sorted(terms.names - terms.numbers), passages)
    numbers = 1.0 - 0.5 * missing_share(sorted(terms.numbers), passages)
    denial = 0.5 if terms.negated and not window.denies else 1.0
    return names * numbers * denial


def support(terms: Terms, passages: Sequence[Passage]) -> float:
    """Support in [0, 1] of a claim by its passages jointly; 0 without passages or content."""
    if not terms.weights or not passages:
        return 0.0
    window = max(
        (_best_window(terms, passage) for passage in passages),
        key=lambda found: (found.share, found.denies),
    )
    evidence = (
        0.25 * coverage(terms, passages) + 0.5 * window.share + 0.25 * _adjacency(terms, passages)
    )
    doubted = evidence * _doubts(terms, passages, window)
    return _ramp(doubted, _FLOOR, _CEILING)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about, and how well its sources can speak of it."""

    question: Terms
    reach: float
    """Share in (0, 1] of the question's words that the best source has, or that one would."""


def read_subject(question: str, sources: Iterable[Passage]) -> Subject:
    """A question beside all of its sources: few of them share most of its words."""
    terms = read_terms(question)
    best = max((coverage(terms, [source]) for source in sources), default=_USUAL_REACH)
    return Subject(terms, max(best, _LEAST_REACH))


def relevance(subject: Subject, terms: Terms, own: Passage, cited: Sequence[Passage]) -> float:
    """How far a statement, with what it cites, speaks of the question, in [0, 1].

    The question's words in it are compared with those in the best source. A cited source counts
    by what it says of the statement, so that citing a relevant one beside does not help.
    A question without words cannot tell anything apart: then it is 1.
    """
    question = subject.question
    if not question.weights:
        return 1.0
    bearing = [coverage(terms, [one]) for one in cited]
    shares = [coverage(question, [own, one]) for one in cited]
    if total := sum(bearing):
        share = sum(map(operator.mul, bearing, shares)) / total
    else:
        share = coverage(question, [own])
    return _ramp(share / subject.reach, _CHANCE, _FULLY_RELEVANT)


def substance(terms: Terms) -> float:
    """How much the claim says of the world rather than of texts, in [0, 1]."""
    return min(1.0, len(terms.specific) / _FULL_SUBSTANCE)


def contribution(terms: Terms, passage: Passage, others: Sequence[Passage]) -> float:
    """How far one of several passages is needed, in [0, 1].

    Full where it supports the claim alone, or where it alone brings a quarter of its words.
    """
    joint = coverage(terms, [passage, *others])
    alone = joint - coverage(terms, others)
    return min(1.0, max(support(terms, [passage]), 4.0 * alone))
