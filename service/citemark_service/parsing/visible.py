"""What of a text a reader sees, and when two texts say the same thing. Linear in the text."""

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Between digits a dot, comma, colon or slash belongs to the number, before one a minus does.
# One class first and its conditions behind it: so a search skips whatever is a letter.
_PUNCTUATION = re.compile(
    r"[.,:/\-–—−;!?…。、！？｡，：；()\[\]{}\"'“”„‟‘’‚‛«»‹›「」『』【】*_`~|#•·‣▪]"
    r"(?:(?<![.,:/\-–—−])"
    r"|(?<=[.,:/])(?:(?<!\d.)|(?!\d))"
    r"|(?<=[-–—−])(?:(?<=[^\W\d].)|(?!\d)))"
)
_WORD_LIMIT = 128


def visible(text: str) -> str:
    """`text` without control, zero-width and other characters that never show."""
    if text.isascii() and text.isprintable():  # as most pieces of an answer are
        return text
    return _INVISIBLE.sub("", text)


def fold_space(text: str) -> str:
    """`text` with each run of white space made one space, and none at its ends."""
    return " ".join(text.split())


def has_content(text: str) -> bool:
    """Whether a reader sees at least one letter or digit, in any script, circled ones included."""
    if text.isascii():
        return any(map(str.isalnum, text))
    return any(map(_is_letter, visible(text)))


def _is_letter(character: str) -> bool:
    if character.isalnum():
        return True
    # Circled, squared and regional letters are symbols to Unicode and letters to a reader.
    is_symbol = unicodedata.category(character) == "So"
    return is_symbol and "LETTER" in unicodedata.name(character, "")


def normal_form(text: str) -> str:
    """What two equal claims share: NFKC, case and white space folded, no punctuation or marks.

    Signs that change a number or a comparison stay, so that "p < 0.05" and "p > 0.05", 1.5 and
    15, 3 and -3 differ.
    """
    text = visible(text)
    words = text if text.isascii() else " ".join(map(_normalise, text.split()))
    return fold_space(_PUNCTUATION.sub(" ", words.casefold()))


def _normalise(word: str) -> str:
    if word.isascii():
        return word
    # Normalisation sorts a run of combining marks in quadratic time, so runs are cut.
    parts = (word[at : at + _WORD_LIMIT] for at in range(0, len(word), _WORD_LIMIT))
    return "".join(unicodedata.normalize("NFKC", part) for part in parts)
