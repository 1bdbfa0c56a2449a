"""The mechanical check of a judge's quote: is it in the answer that the judge was shown?

Containment is fuzzy in what copying changes (case, white space, punctuation, quote marks, a
dropped word) and strict in the words themselves. Linear in the length of the text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_MIN_OVERLAP = 0.8
_FUZZY_FROM = 5
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def _words(text: str) -> list[str]:
    """Case-folded words; scripts without spaces character by character."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class Passage:
    """The text that quotes are looked for in; its words are taken once."""

    def __init__(self, text: str) -> None:
        self._words = _words(text)
        self._joined = f" {' '.join(self._words)} "

    def holds(self, quote: str) -> bool:
        """Whether the words of `quote` stand here together.

        Up to four words must follow each other exactly; of longer quotes, four fifths must lie
        within a window of the quote's own length. A quote without any word is nowhere.
        """
        words = _words(quote)
        if not words:
            return False
        if f" {' '.join(words)} " in self._joined:
            return True
        return len(words) >= _FUZZY_FROM and self._overlap(words) >= _MIN_OVERLAP

    def _overlap(self, words: Sequence[str]) -> float:
        """The best share of `words`, counted with repetition, within a window of their number."""
        missing = Counter(words)
        shared = best = 0
        for position, word in enumerate(self._words):
            shared += missing[word] > 0
            missing[word] -= 1
            if position >= len(words):
                leaving = self._words[position - len(words)]
                missing[leaving] += 1
                shared -= missing[leaving] > 0
            best = max(best, shared)
        return best / len(words)
