"""Words as the embedded judge compares them: folded, lightly stemmed, indexed. Pure and linear."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

# One snippet or claim is read up to here: what a claim needs stands in far less, and the
# length of a hostile text must not buy it time.
MAX_CHARS = 20_000
_CLAIM_CHARS = 2_000  # a claim is a sentence or two; what follows cannot raise its coverage
# A word that stands in more places than this locates nothing; its first places are enough.
_MAX_PLACES, _MAX_PLACES_MERGED = 50, 200
_GAP = 10_000  # longer than any span in which a claim's words are looked for
_ROOT = 5  # inflection and derivation rarely reach into the first letters of a long word

# Words are bounded, since each distinct one is remembered; a longer run is several words.
_TOKEN = re.compile(
    r"\d{1,20}(?:[.,]\d{1,20}){0,6}|[^\W\d_]{1,40}(?:['’][^\W\d_]{1,10})?|[.!?;:\n]"
)
# Scripts that write no spaces; their runs are compared by pairs of characters.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_BREAKS = frozenset(".!?;:\n")


def _split_list(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STOP = _split_list(
    """a an the this that these those it its they their them he she his her him we our us you your
    i my me who whom whose which what when where why how of in on at to for from by with as into
    onto about over under between through during and or but nor so than then if while because is
    are was were be been being am do does did doing done have has had having can could may might
    will would shall should must also too very more most much many some any all each every other
    another one such same own only just even there here up down out off again once both few s t re
    ve ll d m et al via per within upon among against before after above below until since"""
)
_NEGATIONS = _split_list(
    """no not never none nobody nothing neither nor without cannot cant wont dont doesnt didnt isnt
    arent wasnt werent hasnt havent hadnt couldnt shouldnt wouldnt lack lacks fail fails failed
    unable hardly"""
)
# From two: "one" is mostly a pronoun.
_COUNTED = """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty"""
_NUMERALS = {word: str(value) for value, word in enumerate(_COUNTED.split(), start=2)}
_SUFFIXES = ("ingly", "edly", "ings", "ies", "ing", "ied", "ed", "ly", "es", "s")


def stem_word(word: str) -> str:
    """Cut the inflection off one casefolded word; a stem keeps at least three characters."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            cut = word[: -len(suffix)]
            base = cut + "y" if suffix in ("ies", "ied") else cut
            doubled = len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz"
            word = base[:-1] if doubled else base
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def stem_list(text: str) -> frozenset[str]:
    """The stems of a list of words."""
    return frozenset(map(stem_word, text.split()))


GENERIC = stem_list(
    """use make include show well good best better people way ways time thing things help like year
    first last new part work call know see need find often result important main common usual
    person place give take get become tell list want possible case mean cause kind type happen
    common different difference really still least definitely likely already given general
    several various hope let please thank feel free"""
)
"""Words that fit any subject: they count half."""

ABOUT_TEXT = stem_list(
    """source sources text passage passages document information article content contain contains
    provide provided mention mentions discuss discusses page answer answers question following
    snippet snippets context material topic subject detail details data response describe
    describes state states statement claim claims report refer relevant search fact facts factual
    factually summary summarise summarize finding findings explain explains note overview tool
    output evidence reference below above available"""
)
"""Words about texts and answers: a sentence of these alone says nothing of the world."""


@dataclass(frozen=True, slots=True)
class Lexeme:
    """What a token is, wherever it stands."""

    stem: str
    number: bool
    negation: bool
    stop: bool
    """A function word, negations included: it counts for position only."""


# Tokens are short and repeat, and what they are depends on nothing else.
@lru_cache(maxsize=2**15)
def read_lexeme(token: str) -> Lexeme:
    """Classify one token."""
    if token[0].isdigit():
        # Without separators of thousands and trailing zeros of a fraction.
        digits = token.replace(",", "")
        plain = digits.rstrip("0").rstrip(".") if "." in digits else digits
        return Lexeme(plain, number=True, negation=False, stop=False)
    folded = token.casefold().replace("’", "'").removesuffix("'s").replace("'", "")
    if (numeral := _NUMERALS.get(folded)) is not None:
        return Lexeme(numeral, number=True, negation=False, stop=False)
    negation = folded in _NEGATIONS
    stop = negation or folded in _STOP or len(folded) < 2
    return Lexeme(stem_word(folded), number=False, negation=negation, stop=stop)


def split_tokens(text: str) -> Iterator[str]:
    """Words, numbers and sentence ends, without accents."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    for token in _TOKEN.findall(text):
        if not token.isascii() and len(token) > 2 and _UNSPACED.search(token):
            yield from map("".join, pairwise(token))
        else:
            yield token


def read_lexemes(text: str) -> Iterator[Lexeme]:
    """The words and numbers of the first 20,000 characters, in order."""
    tokens = split_tokens(text[:MAX_CHARS])
    return (read_lexeme(token) for token in tokens if token not in _BREAKS)


@dataclass(frozen=True, slots=True)
class Terms:
    """A claim, a question or a criterion as it is looked for."""

    weights: Mapping[str, float]
    """By content stem, in order of appearance."""
    pairs: tuple[tuple[str, str], ...]
    names: frozenset[str]
    """Stems that are capitalised where a plain word would not be."""
    numbers: frozenset[str]
    negated: bool
    length: int
    """In words, function words included."""

    @property
    def specific(self) -> frozenset[str]:
        """Content that is neither generic nor about texts."""
        return frozenset(self.weights) - GENERIC - ABOUT_TEXT


def read_terms(text: str) -> Terms:
    """Take the first 2,000 characters apart; punctuation only ends sentences."""
    stems: list[str] = []
    weights: dict[str, float] = {}
    names, numbers = set[str](), set[str]()
    length, negated, inside = 0, False, False
    for token in split_tokens(text[:_CLAIM_CHARS]):
        if token in _BREAKS:
            inside = False
            continue
        lexeme = read_lexeme(token)
        length, negated = length + 1, negated or lexeme.negation
        if not lexeme.stop:
            stem, weight = lexeme.stem, 0.5 if lexeme.stem in GENERIC else 1.0
            named = token[0].isupper() and (inside or token[1:2].isupper())
            if lexeme.number or named:
                # What a wrong citation gets wrong; generic words are found anywhere.
                (numbers if lexeme.number else names).add(stem)
                weight = 1.5
            weights[stem] = max(weight, weights.get(stem, 0.0))
            stems.append(stem)
        inside = True
    return Terms(
        weights, tuple(pairwise(stems)), frozenset(names), frozenset(numbers), negated, length
    )


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
        # A relative may say something else ("organ", "organise").
        return 1.0 if stem in self.positions else 0.7 if _root(stem) in self.roots else 0.0


def _root(stem: str) -> str | None:
    """What related words share, or None for a number or a word too short to have one."""
    return stem[:_ROOT] if len(stem) >= _ROOT and not stem[0].isdigit() else None


def read_passage(text: str) -> Passage:
    """Index the first 20,000 characters of a text."""
    positions: dict[str, list[int]] = {}
    stems: list[str] = []
    negations: list[int] = []
    length = 0
    for place, lexeme in enumerate(read_lexemes(text)):
        length += 1
        if lexeme.negation:
            negations.append(place)
        if not lexeme.stop:
            stems.append(lexeme.stem)
            places = positions.setdefault(lexeme.stem, [])
            if len(places) < _MAX_PLACES:
                places.append(place)
    return Passage(
        positions=positions,
        roots=frozenset(filter(None, map(_root, positions))),
        pairs=frozenset(pairwise(stems)) | frozenset(zip(stems, stems[2:], strict=False)),
        negations=tuple(negations),
        length=length,
    )


def merge_passages(passages: Iterable[Passage]) -> Passage:
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
