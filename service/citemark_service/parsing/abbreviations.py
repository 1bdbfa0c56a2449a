"""Recognises abbreviations, whose full stops end no sentence."""

import re

_TOKEN_CHARS = 24  # only this many before a stop are searched, so that a text takes linear time
_TOKEN = re.compile(r"(?:^|[\s(\[{>\"'“‘*_–—-])([^\W_]+(?:\.[^\W_]+)*)$")
_ACRONYM = re.compile(r"[a-z](?:\.[a-z])*")


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_ALWAYS = _words("""
    e.g i.e eg ie vs cf viz dr mr mrs ms mx prof rev hon gen gov sen rep col capt lt sgt st mt
    fig figs eq eqs ref refs tab sec ch approx ca resp incl esp
""")
# Abbreviations only before a number: "no. 5", but "They said no."
_BEFORE_NUMBERS = _words("no nos p pp vol art jan feb mar apr jun jul aug sep sept oct nov dec")
# These may end a sentence: they do before a capital and at the end of a line.
_SOMETIMES = _words("al etc inc ltd co corp jr sr dept est ed eds min max ph.d b.sc m.sc")
# Words that, capitalised after an acronym such as "U.S.", begin a new sentence.
_STARTERS = _words("""
    the a an this that these those there it its he she they we you in on at by for from with as
    if when while after before since because although however moreover furthermore therefore
    thus also but and some many most such according both each all no one his her their our
    what which who where why how to is are was were
""")


def is_abbreviation(text: str, stop: int, following: str) -> bool:
    """Whether the full stop at `text[stop]` abbreviates its word; `following` is the next word."""
    token = _token_before(text, stop)
    if token in _ALWAYS:
        return True
    if token in _BEFORE_NUMBERS:
        return following[:1].isdigit()
    if token in _SOMETIMES:
        return following != "" and not following[0].isupper()
    if _ACRONYM.fullmatch(token):
        starts = following[:1].isupper() and following.lower() in _STARTERS
        return following != "" and not starts
    return False


def _token_before(text: str, stop: int) -> str:
    token = _TOKEN.search(text[max(0, stop - _TOKEN_CHARS) : stop])
    return token[1].lower() if token else ""
