"""Visible text, and a normal form to compare texts by. Linear in the text."""

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# A dot, comma, colon or slash between digits and a minus before one belong to the number. The
# conditions are lookbehinds after one character class, so that the search skips letters fast.
_PUNCTUATION = re.compile(
    r"[.,:/\-–—−;!?…。、！？｡，：；()\[\]{}\"'“”„‟‘’‚‛«»‹›「」『』【】*_`~|#•·‣▪]"
    r"(?:(?<![.,:/\-–—−])"
    r"|(?<=[.,:/])(?:(?<!\d.)|(?!\d))"
    r"|(?<=[-–—−])(?:(?<=[^\W\d].)|(?!\d)))"
)
_PLAIN = bytes(range(0x20, 0x7F)) + b"\n"
_MOST_GROWTH = 4
_WORD_LIMIT = 128  # characters normalised at once


def visible(text: str) -> str:
    """`text` without control, zero-width and other invisible characters."""
    if text.isascii() and text.isprintable():  # fast path for most text
        return text
    return _INVISIBLE.sub("", text) if _INVISIBLE.search(odd_characters(text)) else text


def odd_characters(text: str) -> str:
    """All but printable ASCII and line feeds, in order; sifted 20 times as fast as searched."""
    odd = text.encode(errors="surrogatepass").translate(None, _PLAIN)
    return odd.decode(errors="surrogatepass")


def fold_space(text: str) -> str:
    """`text` stripped, with each run of white space replaced by one space."""
    return " ".join(text.split())


def has_content(text: str) -> bool:
    """Whether `text` shows at least one letter or digit, in any script."""
    if text.isascii():
        return any(map(str.isalnum, text))
    return any(map(_is_letter, visible(text)))


def _is_letter(character: str) -> bool:
    if character.isalnum():
        return True
    # To Unicode, circled, squared and regional letters are symbols; to a reader they are letters.
    is_symbol = unicodedata.category(character) == "So"
    return is_symbol and "LETTER" in unicodedata.name(character, "")


def normal_form(text: str) -> str:
    """`text` to compare claims by: NFKC, case and white space folded, no punctuation.

    Signs that change a number or comparison stay: "p < 0.05" and "p > 0.05", 1.5 and 15, 3 and -3
    differ.
    """
    text = visible(text)
    return fold_space(_PUNCTUATION.sub(" ", compose(text).casefold()))


def compose(text: str) -> str:
    """`text` in NFKC, word by word; one that this would make over four times as long stays."""
    return text if text.isascii() else " ".join(map(_normalise, text.split()))


def _normalise(word: str) -> str:
    if word.isascii():
        return word
    # NFKC sorts a run of combining marks in quadratic time, so runs are cut.
    parts = (word[at : at + _WORD_LIMIT] for at in range(0, len(word), _WORD_LIMIT))
    forms = ((part, unicodedata.normalize("NFKC", part)) for part in parts)
    # A single Arabic ligature becomes 18 letters.
    return "".join(form if len(form) <= _MOST_GROWTH * len(part) else part for part, form in forms)
