"""Recognises abbreviations, whose full stops end no sentence."""

import re

_TOKEN_CHARS = 24  # only this many before a stop are searched, so that a text takes linear time
_TOKEN = re.compile(r"(?:^|[\s(\[{>\"'“‘*_–—-])([^\W_]+(?:\.[^\W_]+)*)$")
_ACRONYM = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")


def word_set(listed: str) -> frozenset[str]:
    """Words from a text with spaces between."""
    return frozenset(listed.split())


_ALWAYS = word_set("""
    e.g i.e eg ie vs cf viz dr mr mrs ms mx prof rev hon gen gov sen rep col capt lt sgt st mt
    fig figs eq eqs ref refs tab sec ch approx ca resp incl esp
    bzw vgl bspw ggf evtl inkl sog zzgl geb gest hrsg mme mlle av env bijv resp sig dott sra srta
    dra aprox np tj напр см рис им ул
""")
# Abbreviations only before a number: "no. 5", but "They said no."
_BEFORE_NUMBERS = word_set("""
    no nos p pp vol art jan feb mar apr jun jul aug sep sept oct nov dec nr abs bd стр
""")
# These may end a sentence: they do before a capital and at the end of a line.
_SOMETIMES = word_set("""
    al etc inc ltd co corp jr sr dept est ed eds min max ph.d b.sc m.sc usw jh mio mrd chr str ecc
    enz ud ex ej гг тыс млн млрд руб
""")
# Ordinals are written "27." in German, Danish, Czech and others: before a month, and before a noun
# after one of the German words that introduce it.
_MONTHS = word_set("""
    januar jänner februar märz april mai juni juli august september oktober november dezember
    januari februari marts mars maj juni juli augusti oktober desember december január február
    marec apríl máj jún júl október ledna února března dubna května června července srpna září října
    listopadu prosince siječnja veljače ožujka travnja svibnja lipnja srpnja kolovoza rujna
    studenoga prosinca tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta
    elokuuta syyskuuta lokakuuta marraskuuta joulukuuta március április május június július
    augusztus szeptember jan jän feb mär apr jun jul aug sep sept okt nov dez
""")
_BEFORE_ORDINALS = word_set("""
    am im der die das dem den des vom zum zur beim seit bis ab ein eine einem einer einen und jeder
    jedes
""")
_ORDINAL = re.compile(r"(?:^|\s)([^\W\d_]+)\s+\d{1,3}$")
# Words that, capitalised after an acronym such as "U.S.", begin a new sentence.
_STARTERS = word_set("""
    the a an this that these those there it its he she they we you in on at by for from with as
    if when while after before since because although however moreover furthermore therefore
    thus also but and some many most such according both each all no one his her their our
    what which who where why how to is are was were
    der die das ein eine er sie es wir im am den dem dies diese dieser le les un une il elle ils
    elles cette ce dans el los las una ella gli lei questo nel na w и он она они это в на по
""")


def is_abbreviation(text: str, stop: int, following: str) -> bool:
    """Whether the full stop at `text[stop]` abbreviates its word; `following` is the next word."""
    token = _token_before(text, stop)
    if token in _ALWAYS:
        return True
    if token.isdigit():
        return _is_ordinal(text[max(0, stop - _TOKEN_CHARS) : stop], following)
    if token in _BEFORE_NUMBERS:
        return following[:1].isdigit() or following.lower() in ("ex", "ej")  # "p. ex.", "p. ej."
    if token in _SOMETIMES:
        return following != "" and not following[0].isupper()
    # Letters of a script with cases, but no enclitic: "mediu-a."
    enclitic = text[stop - 2 : stop - 1] == "-" and text[stop - 1].islower()
    if not enclitic and token.upper() != token and _ACRONYM.fullmatch(token):
        starts = following[:1].isupper() and following.lower() in _STARTERS
        return following != "" and not starts
    return False


def _is_ordinal(before: str, following: str) -> bool:
    """Whether the number that ends `before` and has a full stop behind it is an ordinal."""
    if following.lower() in _MONTHS:
        return True
    introduced = _ORDINAL.search(before)
    if introduced is None or introduced[1].lower() not in _BEFORE_ORDINALS:
        return False
    return following[:1].isupper() and following.lower() not in _STARTERS


def _token_before(text: str, stop: int) -> str:
    token = _TOKEN.search(text[max(0, stop - _TOKEN_CHARS) : stop])
    return token[1].lower() if token else ""
