"""Words as the embedded judge compares them: folded, lightly stemmed, indexed. Pure and linear."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

# One snippet or claim is read up to here: what a claim needs stands in far less, and the
# length of a hostile text must not buy it time.
MAX_CHARS = 20_000
# A word that stands in more places than this locates nothing; its first places are enough.
_MAX_PLACES = 50
# Inflection and derivation rarely reach into the first five letters of a long word.
_ROOT = 5

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[.!?;:\n]")
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
    another such same own only just even there here up down out off again once both few s t re ve
    ll d m et al via per within upon among against before after above below until since"""
)
_NEGATIONS = listed(
    """no not never none nobody nothing neither nor without cannot cant wont dont doesnt didnt isnt
    arent wasnt werent hasnt havent hadnt couldnt shouldnt wouldnt lack lacks fail fails failed
    unable hardly"""
)
_COUNTED = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty"""
_NUMERALS = {word: str(value) for value, word in enumerate(_COUNTED.split())}
_SUFFIXES = ("ingly", "edly", "ings", "ies", "ing", "ied", "ed", "ly", "es", "s")


@dataclass(frozen=True, slots=True)
class Word:
    """One word in its place."""

    stem: str
    position: int
    """Counts every word, function words too, so that distances are those of the text."""
    number: bool
    name: bool
    """Capitalised where a plain word would not be."""
    negation: bool
    stop: bool


def _folded(text: str) -> str:
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


def _pieces(token: str) -> Iterator[str]:
    if len(token) > 2 and _UNSPACED.search(token):
        yield from (token[start : start + 2] for start in range(len(token) - 1))
    else:
        yield token


def _word(token: str, position: int, capital_counts: bool) -> Word:
    if token[0].isdigit():
        digits = token.replace(",", "").rstrip("0").rstrip(".") if "." in token else token
        return Word(digits.replace(",", ""), position, True, False, False, False)
    folded = _folded_word(token)
    numeral = _NUMERALS.get(folded)
    negation = folded in _NEGATIONS
    stop = folded in _STOP or negation or (len(folded) < 2 and not numeral)
    name = token[0].isupper() and not stop and (capital_counts or token[1:2].isupper())
    return Word(numeral or stemmed(folded), position, numeral is not None, name, negation, stop)


def words(text: str, limit: int = MAX_CHARS) -> tuple[Word, ...]:
    """The words of the first `limit` characters, in order; punctuation only ends sentences."""
    found: list[Word] = []
    inside = False
    for match in _TOKEN.finditer(_folded(text[:limit])):
        token = match.group()
        if token in _BREAKS:
            inside = False
            continue
        for piece in _pieces(token):
            found.append(_word(piece, len(found), inside))
        inside = True
    return tuple(found)


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

    def credit(self, stem: str) -> float:
        """1 where the passage has the word, 0.7 for a relative of it, else 0."""
        if stem in self.positions:
            return 1.0
        # Less than the word itself: a relative may say something else ("organ", "organise").
        return 0.7 if root(stem) in self.roots else 0.0


def _near(content: list[Word]) -> Iterator[tuple[str, str]]:
    yield from ((left.stem, right.stem) for left, right in pairwise(content))
    yield from ((left.stem, right.stem) for left, right in zip(content, content[2:], strict=False))


def read_passage(text: str, limit: int = MAX_CHARS) -> Passage:
    """Index the first `limit` characters of a text."""
    every = words(text, limit)
    content = [word for word in every if not word.stop]
    positions: dict[str, list[int]] = {}
    for word in content:
        places = positions.setdefault(word.stem, [])
        if len(places) < _MAX_PLACES:
            places.append(word.position)
    return Passage(
        positions=positions,
        roots=frozenset(filter(None, map(root, positions))),
        pairs=frozenset(_near(content)),
        negations=tuple(word.position for word in every if word.negation),
    )
