"""The closed set of connectives between claims, which state nothing."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*")
_LONGEST_PIECE = 80  # characters

_LISTED = """
and, or, but, so, yet, nor, also, then, thus, hence, therefore, however, moreover, furthermore,
additionally, similarly, likewise, meanwhile, nevertheless, nonetheless, conversely, consequently,
accordingly, alternatively, besides, otherwise, instead, finally, firstly, secondly, thirdly,
lastly, namely, specifically, notably, importantly, overall, while, whereas, because, since,
although, though, as, that, which, with, by, for, from, to, of, in, on, at, the, a, an, i.e, e.g,
vs, such as, as well as, in addition, in addition to, according to, for example, for instance,
as a result, in contrast, in conclusion, in summary, to summarize, in short, in brief, in fact,
in particular, in other words, in turn, on the other hand, on the one hand, at the same time,
by contrast, by comparison, that is, due to, based on, compared to, compared with, along with,
together with, even though, after that, more specifically, most importantly, that said, even so,
as such, and so on
"""
_PHRASES = frozenset(tuple(phrase.split()) for phrase in _LISTED.split(","))
_LONGEST_PHRASE = max(map(len, _PHRASES))
_FIRST_WORDS = frozenset(phrase[0] for phrase in _PHRASES)
_ORDINALS = frozenset({"first", "second", "third", "fourth", "fifth", "next", "last"})


def is_connective(piece: str) -> bool:
    """Whether `piece` consists of connectives only."""
    if len(piece) > _LONGEST_PIECE:
        return False
    words = [word.lower() for word in _WORD.findall(piece)]
    # "First," is a connective; "First." may be the whole answer.
    if len(words) == 1 and words[0] in _ORDINALS:
        return piece.endswith((",", ":"))
    return bool(words) and words[0] in _FIRST_WORDS and _is_made_of_phrases(words)


def _is_made_of_phrases(words: list[str]) -> bool:
    at = 0
    while at < len(words):
        reach = range(_LONGEST_PHRASE, 0, -1)  # the longest phrase that fits, without backtracking
        size = next((n for n in reach if tuple(words[at : at + n]) in _PHRASES), 0)
        if not size:
            return False
        at += size
    return True
