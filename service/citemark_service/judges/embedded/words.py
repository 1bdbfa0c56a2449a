"""Tokenizing, light stemming and indexing for the embedded judge. Pure, in linear time."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

# No more of a snippet is read: the evidence for a claim takes far less, and a hostile text must
# not gain processor time by its length.
MAX_CHARS = 20_000
_CLAIM_CHARS = 2_000  # a claim is a sentence or two; what follows cannot raise its coverage
# A more frequent word does not help to locate a claim; its first places are enough.
_MAX_PLACES, _MAX_PLACES_MERGED = 50, 200
_GAP = 10_000  # longer than any span in which a claim's words are looked for
_ROOT = 5  # letters; inflection and derivation rarely change the beginning of a long word

# Tokens have bounded lengths, since each distinct one is cached; a longer run is split.
_TOKEN = re.compile(
    r"\d{1,20}(?:[.,]\d{1,20}){0,6}|[^\W\d_]{1,40}(?:['’][^\W\d_]{1,10})?|[.!?;:\n]"
)
# Scripts without spaces (kana, CJK, Thai, Lao): runs are split into pairs of characters.
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
# From two, since "one" is mostly a pronoun.
_COUNTED = """two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty"""
_NUMERALS = {word: str(value) for value, word in enumerate(_COUNTED.split(), start=2)}
_SUFFIXES = ("ingly", "edly", "ings", "ies", "ing", "ied", "ed", "ly", "es", "s")


def stem_word(word: str) -> str:
    """Strip the inflection from a casefolded word; the stem has at least three characters."""
    for suffix in _SUFFIXES:
        # The "s" of "class" is no suffix.
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            cut = word[: -len(suffix)]
            base = cut + "y" if suffix in ("ies", "ied") else cut
            # "stopped" to "stop", but "falling" to "fall".
            doubled = len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz"
            word = base[:-1] if doubled else base
            break
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def stem_list(text: str) -> frozenset[str]:
    return frozenset(map(stem_word, text.split()))


# Words that fit any subject; they have half the weight.
GENERIC = stem_list(
    """use make include show well good best better people way ways time thing things help like year
    first last new part work call know see need find often result important main common usual
    person place give take get become tell list want possible case mean cause kind type happen
    common different difference really still least definitely likely already given general
    several various hope let please thank feel free"""
)

# Words about texts and answers: a sentence of these alone states nothing about the world.
ABOUT_TEXT = stem_list(
    """source sources text passage passages document information article content contain contains
    provide provided mention mentions discuss discusses page answer answers question following
    snippet snippets context material topic subject detail details data response describe
    describes state states statement claim claims report refer relevant search fact facts factual
    factually summary summarise summarize finding findings explain explains note overview tool
    output evidence reference below above available"""
)


@dataclass(frozen=True, slots=True)
class Lexeme:
    stem: str
    number: bool
    negation: bool
    stop: bool  # a function word, negations included: it counts for positions only


@lru_cache(maxsize=2**15)
def read_lexeme(token: str) -> Lexeme:
    if token[0].isdigit():
        # "1,000" equals "1000", and "2.50" equals "2.5".
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
    """Yield words, numbers and sentence ends, without accents."""
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
    """The words of a claim, a question or a criterion, to be looked for in passages."""

    weights: Mapping[str, float]  # by content stem, in order of appearance
    pairs: tuple[tuple[str, str], ...]
    names: frozenset[str]  # stems that are capitalised inside a sentence, or in full
    numbers: frozenset[str]
    negated: bool
    length: int  # in words, function words included

    @property
    def specific(self) -> frozenset[str]:
        """Stems that are neither generic nor about texts."""
        return frozenset(self.weights) - GENERIC - ABOUT_TEXT


def read_terms(text: str) -> Terms:
    """Read the first 2,000 characters; punctuation only ends sentences."""
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
                # Wrong citations differ in names and numbers; generic words are found anywhere.
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
    """An indexed text; positions and length are in words."""

    positions: Mapping[str, list[int]]  # by content stem
    roots: frozenset[str]
    pairs: frozenset[tuple[str, str]]  # content words with at most one other between them
    negations: tuple[int, ...]
    length: int

    def credit(self, stem: str) -> float:
        """1 where the passage has the stem, 0.7 where it has a word of the same root, else 0."""
        # Below 1, since a shared root need not be a shared meaning ("organ", "organise").
        return 1.0 if stem in self.positions else 0.7 if _root(stem) in self.roots else 0.0


def _root(stem: str) -> str | None:
    """The letters that related words share; None for a number or a short word."""
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
    """Join passages, so far apart that no span covers two: a look-up costs as for one passage."""
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
