"""Words as the embedded judge compares them: folded, lightly stemmed, indexed. Pure and linear."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

# One snippet or claim is read up to here: what a claim needs stands in far less, and the
# length of a hostile text must not buy it time.
MAX_CHARS = 20_000
# A word that stands in more places than this locates nothing; its first places are enough.
_MAX_PLACES = 50
_MAX_PLACES_MERGED = 200
# Longer than any span in which a claim's words are looked for.
_GAP = 10_000
# Inflection and derivation rarely reach into the first five letters of a long word.
_ROOT = 5

# Words are bounded, since each distinct one is remembered; a longer run is several words.
_TOKEN = re.compile(
    r"\d{1,20}(?:[.,]\d{1,20}){0,6}|[^\W\d_]{1,40}(?:['’][^\W\d_]{1,10})?|[.!?;:\n]"
)
# Scripts that write no spaces; their runs are compared by pairs of characters.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_BREAKS = frozenset(".!?;:\n")


def listed(text: str) -> frozenset[str]:
    """A closed list of words, written as running text."""
    return frozenset(text.split())


_STOP = listed(
    """a an the this that these those it its they their them he she his her him we our us you your
    i my me who whom whose which what when where why how of in on at to for from by with as into
    onto about over under between through during and or but nor so than then if while because is
    are was were be been being am do does did doing done have has had having can could may might
    will would shall should must also too very more most much many some any all each every other
    another one such same own only just even there here up down out off again once both few s t re
    ve ll d m et al via per within upon among against before after above below until since"""
)
_NEGATIONS = listed(
    """no not never none nobody nothing neither nor without cannot cant wont dont doesnt didnt isnt
    arent wasnt werent hasnt havent hadnt couldnt shouldnt wouldnt lack lacks fail fails failed
    unable hardly"""
)
_COUNTED = """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty"""
# From two: "one" is mostly a pronoun.
_NUMERALS = {word: str(value) for value, word in enumerate(_COUNTED.split(), start=2)}
_SUFFIXES = ("ingly", "edly", "ings", "ies", "ing", "ied", "ed", "ly", "es", "s")


@dataclass(frozen=True, slots=True)
class Lexeme:
    """What a token is, wherever it stands."""

    stem: str
    number: bool
    negation: bool
    stop: bool
    """A function word, negations included: it counts for position only."""


class Word(NamedTuple):
    """One content word in its place."""

    stem: str
    number: bool
    name: bool
    """Capitalised where a plain word would not be."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A short text taken word by word."""

    content: tuple[Word, ...]
    length: int
    """In words, function words included."""
    negated: bool


def _folded(text: str) -> str:
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def stemmed(word: str) -> str:
    """Cut the inflection off one casefolded word; a stem keeps at least three characters."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            cut = word[: -len(suffix)]
            base = cut + "y" if suffix in ("ies", "ied") else cut
            doubled = len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz"
            word = base[:-1] if doubled else base
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def _folded_word(token: str) -> str:
    bare = token.casefold().replace("’", "'")
    return bare.removesuffix("'s").replace("'", "")


def _plain_number(token: str) -> str:
    """Without thousands separators and trailing zeros of a fraction."""
    digits = token.replace(",", "")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


# Tokens are short and repeat, and what they are depends on nothing else.
@lru_cache(maxsize=2**15)
def lexeme(token: str) -> Lexeme:
    """Classify one token."""
    if token[0].isdigit():
        return Lexeme(_plain_number(token), number=True, negation=False, stop=False)
    folded = _folded_word(token)
    numeral = _NUMERALS.get(folded)
    if numeral is not None:
        return Lexeme(numeral, number=True, negation=False, stop=False)
    negation = folded in _NEGATIONS
    stop = negation or folded in _STOP or len(folded) < 2
    return Lexeme(stemmed(folded), number=False, negation=negation, stop=stop)


def _tokens(text: str, limit: int) -> Iterator[str]:
    """Words, numbers and sentence ends of the first `limit` characters."""
    for token in _TOKEN.findall(_folded(text[:limit])):
        if not token.isascii() and len(token) > 2 and _UNSPACED.search(token):
            yield from map("".join, pairwise(token))
        else:
            yield token


def read_phrase(text: str, limit: int = MAX_CHARS) -> Phrase:
    """Take the first `limit` characters of a text apart; punctuation only ends sentences."""
    content: list[Word] = []
    length, negated, inside = 0, False, False
    for token in _tokens(text, limit):
        if token in _BREAKS:
            inside = False
            continue
        known = lexeme(token)
        if not known.stop:
            capital = token[0].isupper() and (inside or token[1:2].isupper())
            content.append(Word(known.stem, known.number, capital and not known.number))
        length, negated, inside = length + 1, negated or known.negation, True
    return Phrase(tuple(content), length, negated)


def root(stem: str) -> str | None:
    """What related words share, or None for a number or a word too short to have one."""
    return stem[:_ROOT] if len(stem) >= _ROOT and not stem[0].isdigit() else None


@dataclass(frozen=True, slots=True)
class Passage:
    """One text as it is searched."""

    positions: Mapping[str, list[int]]
    """Content stem to its places, counted in words."""
    roots: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    """Content words that stand next to each other or with one other between them."""
    negations: tuple[int, ...]
    length: int
    """In words."""

    def credit(self, stem: str) -> float:
        """1 where the passage has the word, 0.7 for a relative of it, else 0."""
        if stem in self.positions:
            return 1.0
        # Less than the word itself: a relative may say something else ("organ", "organise").
        return 0.7 if root(stem) in self.roots else 0.0


def _near(stems: list[str]) -> Iterator[tuple[str, str]]:
    yield from pairwise(stems)
    yield from zip(stems, stems[2:], strict=False)


def read_passage(text: str, limit: int = MAX_CHARS) -> Passage:
    """Index the first `limit` characters of a text."""
    positions: dict[str, list[int]] = {}
    stems: list[str] = []
    negations: list[int] = []
    spoken = [lexeme(token) for token in _tokens(text, limit) if token not in _BREAKS]
    for place, known in enumerate(spoken):
        if known.negation:
            negations.append(place)
        if known.stop:
            continue
        stems.append(known.stem)
        places = positions.setdefault(known.stem, [])
        if len(places) < _MAX_PLACES:
            places.append(place)
    return Passage(
        positions=positions,
        roots=frozenset(filter(None, map(root, positions))),
        pairs=frozenset(_near(stems)),
        negations=tuple(negations),
        length=len(spoken),
    )


def merge(passages: Iterable[Passage]) -> Passage:
    """Several passages as one, set so far apart that no span reaches from one to the next.

    Looking a word up then costs the same however many sources a rollout has.
    """
    positions: dict[str, list[int]] = {}
    roots: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    negations: list[int] = []
    offset = 0
    for passage in passages:
        for stem, own in passage.positions.items():
            places = positions.setdefault(stem, [])
            places += (offset + place for place in own[: _MAX_PLACES_MERGED - len(places)])
        roots |= passage.roots
        pairs |= passage.pairs
        negations += (offset + place for place in passage.negations)
        offset += passage.length + _GAP
    return Passage(positions, frozenset(roots), frozenset(pairs), tuple(negations), offset)
