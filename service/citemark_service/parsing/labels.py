"""Tells labels, which state nothing, from text in a label's place that states a fact by itself.

A heading, a bold label, a table's header and a line of code are left out only where they have no
predicate and no number with its unit. In doubt a text is no label: the judge then says whether it
states a fact.
"""

import re
from typing import Final

from citemark_service.parsing.abbreviations import word_set
from citemark_service.parsing.visible import visible

_MOST_WORDS: Final = 10
_MOST_CHARACTERS: Final = 120
_UNSPACED: Final = 24  # characters of scripts without spaces

_WORD = re.compile(r"[^\W\d]\w*+(?:['’-]\w++)*+|\d[\d.,]*+")
_BARE = re.compile(r"[\s*_#>`~$]++")
_UNITS = word_set("""
    %‰°℃℉€$£¥₹₩ percent pct per cent prozent pour procent por m cm mm km nm μm µm g kg mg t lb lbs
    oz l ml s ms min h hr hrs d yr yrs w kw mw gw kwh mwh gwh v a hz khz mhz ghz b kb mb gb tb k c
    f pa hpa kpa mpa bar n j kj kcal cal mol ppm ppb mph kmh km/h m/s knots feet foot ft inch
    inches yard yards mile miles metre metres meter meters kilometre kilometres kilometer
    kilometers centimetres centimeters gram grams kilogram kilograms ton tons tonne tonnes litre
    litres liter liters second seconds minute minutes hour hours day days week weeks month months
    year years decade decades century centuries degrees watt watts volts hectares acres people
    persons inhabitants deaths cases times euro euros dollar dollars pounds yen cents million
    millions billion billions trillion thousand hundred stunden minuten sekunden tage wochen
    monate jahre jahren metern kilometern tonnen millionen milliarden tausend einwohner grad ans
    années mois jours heures mètres kilomètres milliards habitants años meses días horas metros
    kilómetros millones habitantes anni mesi giorni ore metri chilometri milioni miliardi abitanti
    anos dias quilômetros milhões jaar dagen uur miljoen miljard inwoners лет года год дней часов
    метров километров тонн млн млрд тыс процентов км м кг
    年 月 日 米 公里 千米 公斤 吨 人 万 亿 元 円 度 时 分钟 小时
    メートル キロ 万人 साल मीटर किलोमीटर प्रतिशत متر كيلومتر سنة عام مليون
""") | frozenset("€$£¥₹₩")
_MEASURE = re.compile(r"([€$£¥₹₩]?)\s?\d[\d.,]*+\s?([^\W\d_]++(?:/[^\W\d_]++)?|[%‰°℃℉€$£¥₹₩])?")

_ENDS = (".", "!", "。", "！", "…", "।", "۔")
# Finite verbs that need no guess; those of other languages beside English.
_VERBS = word_set("""
    is are was were be been has have had do does did can could will would shall should may might
    must isn't aren't wasn't weren't hasn't haven't hadn't doesn't didn't won't can't cannot it's
    became becomes began begins came comes died fell gave gives got grew kept knew ran remains rose
    says saw sank stood took thought told went won wrote
    ist sind waren wird werden wurde wurden hat haben hatte hatten kann können muss gibt liegt
    beträgt steht kommt führt heißt begann starb fand verursacht nicht sich est sont était
    étaient fut furent
    ont avait peut doit mesure compte es eran fue fueron ha han había tiene tienen
    está están puede causa è sono furono hanno aveva può deve é são foi foram tem têm pode zijn
    werd heeft hebben kan wordt var blev har kunne är hade oli ovat jest są był była było
    były ma mają je jsou byl byla bylo bily olmuştur vardır yoktur был была было были является
    являются имеет составляет находится может है हैं था थी थे हुआ हुई كان كانت هو هي يقع تقع يبلغ
""")
# These need a complement to be more than a participle.
_PASTS = word_set("built made found held lost led left cost paid set sold sent met won")
_CJK_VERBS = word_set(
    "是 为 為 有 在 成 会 能 于 です ます でした ました した である だった 입니다 이다 했다 있다"
)
_RELATIONS = word_set("""
    in on at by to from into with for as since until after before during under over near through
    between against about up down out off around across
""")
_BEFORE_NOUNS = word_set("""
    a an the of and or for in by with its their this these those other more most all some any key
    main our your no as on at to from per
""")
# Nouns, to which the ending of a verb is no sign of one.
_NOUNS = word_set("""
    facts figures causes effects results findings sources details dimensions questions limitations
    notes points steps methods features benefits risks types uses dates events numbers statistics
    differences similarities advantages disadvantages pros cons references conclusions remarks
    characteristics materials measures costs terms works members changes trends responses reasons
    requirements advances attacks studies analysis basis process access progress series species
    status news physics mathematics economics politics ethics business address bias canvas campus
    sites parts aspects factors options examples cases issues problems solutions approaches views
    perspectives implications applications recommendations strategies techniques symptoms signs
    tests models systems tools services products companies countries states cities regions areas
    years days hours minutes names titles items values units rates levels ranges versions this
    thus its his hers yes related based cited detailed proposed estimated selected united limited
    combined advanced used needed required
""")
_LEAD_IN = word_set("""
    are is were be include includes including following follows follow below here there that these
    this the a an as such several some many key main of and or in to it they can could also steps
    facts findings points results reasons sources answer summary overview details examples factors
    numbers figures dates data evidence table list chart question aspects parts ways types kinds
    gives give shows show lists say says state states stand stands out what we know known about two
    three four five important notable relevant its their above
""")
_QUESTIONS = word_set("who what when where why how which whose")


def is_label(text: str) -> bool:
    """Whether `text`, in the place of a label, states nothing by itself."""
    shown = _BARE.sub(" ", visible(text)).strip()
    bare = shown.rstrip(":： ")
    words = _WORD.findall(bare)
    if len(bare) > _MOST_CHARACTERS or len(words) > _MOST_WORDS or _measures(bare):
        return False
    asks = words and words[0].lower() in _QUESTIONS and len(words) < 7
    if bare.endswith("?") or asks or len(words) < 2:  # a single word has no subject
        return not any(len(word) > _UNSPACED for word in words) and not _tells_unspaced(bare)
    if bare.endswith(_ENDS):
        return False
    if shown != bare:  # the words that only lead to what follows the colon
        while words and words[-1].lower() in _LEAD_IN:
            words.pop()
    return not _tells_unspaced(bare) and not _has_predicate(words)


def is_lead_in(text: str) -> bool:
    """Whether `text`, which ends in a colon, only leads to what follows.

    Unlike a label it may be long, as a sentence without its complement is.
    """
    bare = _BARE.sub(" ", visible(text)).rstrip(":： ")
    words = _WORD.findall(bare)
    while words and words[-1].lower() in _LEAD_IN:
        words.pop()
    return not _measures(bare) and not _tells_unspaced(bare) and not _has_predicate(words)


def _measures(text: str) -> bool:
    """Whether a number stands with its unit."""
    return any(
        match[1] or (match[2] and match[2].lower() in _UNITS) for match in _MEASURE.finditer(text)
    )


def _tells_unspaced(text: str) -> bool:
    """Whether a text without spaces between words has a predicate or is long."""
    if text.isascii():
        return False
    unspaced = sum("\u3040" <= character <= "\u9fff" for character in text)
    return unspaced > _UNSPACED or (unspaced > 2 and any(verb in text for verb in _CJK_VERBS))


def _has_predicate(words: list[str]) -> bool:
    lowered = [word.lower() for word in words]
    return any(
        _is_predicate(lowered, at) or (at > 0 and lowered[at] in _VERBS) for at in range(len(words))
    )


def _is_predicate(words: list[str], at: int) -> bool:
    """Whether a word looks like a verb that has a complement behind it."""
    word, follows = words[at], words[at + 1] if at + 1 < len(words) else ""
    if not follows:
        return False
    subject = at > 0 and words[at - 1] not in _BEFORE_NOUNS
    # "Opened in 1963"; but "Opened in" is the name of a column.
    related = follows[0].isdigit() or (follows in _RELATIONS and at + 2 < len(words))
    if word in _PASTS or (word.endswith("ed") and len(word) > 4 and word not in _NOUNS):
        return related or subject
    # "Ice floats on water", "Lead causes harm"; but "Effects of ice", "Key facts in brief".
    ends_as_verb = word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "’s"))
    if not ends_as_verb or len(word) < 4 or follows in ("of", "and", "or"):
        return False
    return subject and not (word in _NOUNS and related)
