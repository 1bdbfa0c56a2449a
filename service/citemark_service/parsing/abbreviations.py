"""Recognises abbreviations, whose full stops end no sentence."""

import re

_TOKEN_CHARS = 24  # only this many before a stop are searched, so that a text takes linear time
_TOKEN = re.compile(r"(?:^|[\s(\[{>\"'“‘*_–—-])([^\W_]+(?:\.[^\W_]+)*)$")
_ACRONYM = re.compile(r"[^\W\d_](?:\.[^\W\d_])*")


def word_set(listed: str) -> frozenset[str]:
    """Words from a text with spaces between."""
    return frozenset(listed.split())


_ALWAYS = word_set("""
    e.g i.e eg ie vs cf cfr viz dr dra mr mrs ms mx prof profa rev hon gen gov sen rep col capt lt
    sgt st ste sto sta mt fig figs eq eqs ref refs tab sec ch chap approx ca resp incl excl esp
    bzw vgl bspw ggf evtl inkl exkl einschl insb insbes ehem sog zzgl geb gest hrsg lt abb
    mme mlle mgr av env hab sig sigg dott avv geom sra sras srta sres dña uds vd ee aprox pág págs
    núm séc exmo bijv nl evt ong zgn dhr mevr drs np tj napr f.eks dvs см рис им ул
""")
# Faculties of degrees, behind "Dr." and its like alone.
_FACULTIES = word_set("med dent vet phil rer nat jur pol oec ing theol paed h.c habil hum mult")
_DEGREE = re.compile(
    r"\b(?:dr|dipl|prof|mag)\.[ -]?(?:[a-z]{2,5}\.[ -]?){0,3}[a-z.]{3,5}$", re.IGNORECASE
)
# Abbreviations only before a number: "no. 5", but "They said no."
_BEFORE_NUMBERS = word_set("""
    no nos nr nrs p pp pag pagg blz vol art cap mar abs bd kap стр
""")
# They end a sentence only before a word that begins one: "5 Mio. Euro", but "5 Mio. Die Stadt".
_BEFORE_NOUNS = word_set("""
    mio mrd tsd mld mln std hl jh jhd jhdt sr ud uu
""")
# These may end a sentence: they do before a capital and at the end of a line.
_SOMETIMES = word_set("""
    al etc inc ltd co corp jr dept est ed eds min max ph.d b.sc m.sc usw chr str ecc es enz ex ej
    máx mín obs jan feb apr jun jul aug sep sept oct nov dec janv févr juill déc ene fev abr ago dez
    okt dic bl.a m.fl гг тыс млн млрд руб
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
_MEASURED = re.compile(r"\d\s?[ghlmst]$")  # "5 m. It" is a unit, and no initial
_ORDINAL = re.compile(r"\b([^\W\d_]+)\s+\d{1,3}$")
# Words that, capitalised after an acronym such as "U.S.", begin a new sentence.
_STARTERS = word_set("""
    the a an this that these those there it its he she they we you in on at by for from with as
    if when while after before since because although however moreover furthermore therefore
    thus also but and some many most such according both each all no one his her their our
    what which who where why how to is are was were
    der die das ein eine einer er sie es wir im am den dem dies diese dieser dieses ihr ihre sein
    seine nach seit bei mit durch während als danach später heute viele einige alle beide kein
    keine man wenn für aus von vom zum zur bis unter über zwischen trotz wegen jedoch aber und dort
    hier damit dabei außerdem zudem laut auch doch
    le les un une il elle ils elles cette ces ce cet dans en sur avec pour mais son sa ses leur
    el los las una este esta estos su sus pero con por más gli lei questo questa nel nella della i
    lo o os as ele ela eles um uma seu sua mas não no na em de het een hij zij ze wij dit dat deze
    op voor met maar w и он она они это в на по
""")


def is_abbreviation(text: str, stop: int, following: str) -> bool:
    """Whether the full stop at `text[stop]` abbreviates its word; `following` is the next word,
    with the stop behind it if it is an initial."""
    token = _token_before(text, stop)
    before = text[max(0, stop - _TOKEN_CHARS) : stop]
    degree = token in _FACULTIES and _DEGREE.search(before)
    if token in _ALWAYS or degree or (token, following) == ("apr", "J."):  # "52 apr. J.-C."
        return True
    if token.isdigit():
        return _is_ordinal(before, following)
    if token in _BEFORE_NUMBERS:  # also "p. ex.", "p. ej."
        numeral = len(following) > 1 and set(following) <= set("IVXLC")
        return following[:1].isdigit() or numeral or following.lower() in ("ex", "ej")
    if token in _SOMETIMES:
        return following != "" and not following[0].isupper()
    # Letters of a script with cases, but no enclitic: "mediu-a."
    enclitic = text[stop - 2 : stop - 1] == "-" and text[stop - 1].islower()
    acronym = not enclitic and token.upper() != token and _ACRONYM.fullmatch(token)
    if acronym or token in _BEFORE_NOUNS:
        measured = _MEASURED.search(text, max(0, stop - 3), stop)
        starts = following[:1].isupper() and (measured or following.lower() in _STARTERS)
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
