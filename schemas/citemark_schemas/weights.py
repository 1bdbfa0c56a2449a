"""Weights and signs of a criterion: where they are read, and what else may be one. Pure.

Of an object are read its weight (`WEIGHTS`, negative for a defect) and its sign (`SIGNS`). What
any other key means is a guess: `could_matter` says which could be a weight, a sign, a level, a
condition or a nesting, `weight_hint` what title, tags and text say where neither of both does.
"""

import re
import reprlib
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from citemark_schemas.bulk import Bulky, RepeatedKey, loads

WEIGHTS: Final = ("weight", "points", "score")
SIGNS: Final = ("polarity", "sign", "type")
MOST_WEIGHT: Final = 1e6
LABELS: Final = ("tags", "axis", "source")
"""Bystanders, unless one is the word of a sign or degree that is said nowhere else."""
_LONGEST_LABEL: Final = 40
_LABEL_CUT: Final = _LONGEST_LABEL + 1
_LONGEST_KEY: Final = 80


class Polarity(StrEnum):
    """Whether meeting the criterion is good (`positive`) or is a defect (`negative`)."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


POLARITIES: Final = {
    **dict.fromkeys(("positive", "pos", "plus", "+"), Polarity.POSITIVE),
    **dict.fromkeys(("negative", "neg", "minus", "-", "−", "–"), Polarity.NEGATIVE),
}
_UNITS: Final = {
    **dict.fromkeys(("1", "+1", "1.0"), Polarity.POSITIVE),
    **dict.fromkeys(("-1", "−1", "-1.0"), Polarity.NEGATIVE),
}
# These may be a sign or a weight as well, but which is a guess.
_SIGN_WORDS: Final = frozenset({
    *POLARITIES, "good", "bad", "bonus", "malus", "penalty", "penalties", "reward", "pitfall",
    "pitfalls", "deduction", "deductions", "deduct", "demerit", "demerits", "desirable",
    "undesirable", "desired", "undesired", "unwanted", "avoid", "not",
    "violation", "violations", "defect", "defects", "forbidden", "prohibited", "inverted",
    "flaw", "flaws", "trap", "traps", "absent", "error", "errors", "mistake", "mistakes", "harmful",
    "wrong", "failure", "incorrect", "contradiction", "exclusion", "veto",
    "negativ", "fehler", "abzug", "negativo", "penalización", "négatif", "pénalité", "erreur",
    "负面", "负向", "扣分", "扣分项", "减分", "减分项", "错误", "陷阱",
})  # fmt: skip
_DEGREES: Final = frozenset({
    "essential", "important", "optional", "critical", "crucial", "vital", "mandatory", "required",
    "necessary", "recommended", "high", "medium", "low", "major", "minor", "must", "should",
    "could", "nice", "trivial", "blocker", "double", "triple", "twice", "half", "one", "two",
    "three", "four", "five", "six", "seven", "eight", "nine", "ten", "muss", "pflicht",
    "obligatorio", "opcional", "obligatoire", "facultatif", "必须", "必需", "必备", "可选",
})  # fmt: skip
SETTLED: Final[Mapping[tuple[bool, bool], Set[str]]] = {
    (False, False): frozenset(),
    (False, True): _SIGN_WORDS,
    (True, False): _DEGREES,
    (True, True): _SIGN_WORDS | _DEGREES,
}
"""Words that say nothing new of a criterion, by whether its weight and its sign are given."""
_ANSWERS: Final = frozenset({"true", "false", "yes", "no"})
_FILLERS: Final = frozenset({
    "criteria", "criterion", "rubric", "rubrics", "item", "items", "point", "points", "to", "have",
    "be", "do", "of", "very", "highly", "common", "type", "polarity", "sign", "level", "priority",
    "importance", "severity", "impact", "weight",
})  # fmt: skip
_PHRASE: Final = re.compile(r"\b(?:red[ -]flag|don['’]?t|anti[ -]?pattern)")
_WORD: Final = re.compile(r"[^\W_]+|[+−–-]")
_QUANTITY: Final = re.compile(
    r"(?:(?:weight|points?|score|level|priority|importance|severity|worth)\W{0,3})?"
    r"(?:[+−–-]?\s?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?|nan|[+-]?inf(?:inity)?)\s*(?:%|x|points?|pts?\.?)?"
    r"|[ps]\d|x\s?\d+|\d+/\d+|[★☆⭐]+|(?-i:[IVX]{2,4})",
    re.IGNORECASE,
)
_TELLING_KEYS: Final = frozenset({
    "weight", "weights", "weighting", "points", "pts", "importance", "important", "severity",
    "priority", "priorities", "level", "levels", "polarity", "sign", "penalty", "penalties",
    "deduction", "deductions", "pitfall", "pitfalls", "critical", "criticality", "necessity",
    "mandatory", "optional", "required", "rank", "tier", "grade", "if", "when", "unless",
    "condition", "conditions", "conditional", "precondition", "preconditions", "prerequisite",
    "prerequisites", "depends", "requires", "applies", "applicable",
    "sub", "subcriteria", "scoring", "weightage", "rating", "multiplier", "coefficient",
})  # fmt: skip
"""Words of a key that say a weight, sign, level, condition or nesting whatever the value."""
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LEVEL: Final = re.compile(
    r"(?:(?:score|level|grade|rating|option|band|anchor)s?[ _-]?)?\d+(?:[ _-].*)?", re.IGNORECASE
)
OPENED: Final = re.compile(r"""\s*(?:(?:\[\s*)?\{|\[)\s*["']""")
"""How the text of an object or a list begins, JSON or Python's own."""
_END: Final = 60
"""Characters at either end of a text in which a weight or a sign is looked for."""
_WIDE: Final = str.maketrans("（）［］【】：；，｜＝－＋", "()[][]:;,|=-+")
_EMPHASIS: Final = re.compile(r"(?<!\s)[*_`~]+|[*_`~]+(?!\s)")
_SIGN: Final = r"(?:[+−–-]|(?:minus|plus|moins|menos)\s)"
_NUMBER: Final = r"\s?\d+(?:[.,]\d+)?"
_UNIT: Final = r"(?:points?|pts?\.?|punkte?|puntos?|marks?|分|点)"
_POINTS: Final = rf"{_SIGN}?{_NUMBER}[\s-]?{_UNIT}"
_WEIGHT: Final = rf"(?:{_POINTS}|(?:weight|points?|worth)\W{{0,3}}(?:{_POINTS}|{_NUMBER}%?))"
_SIGNED: Final = rf"{_SIGN}{_NUMBER}"
_MARK: Final = rf"\s*(?:{_WEIGHT}|{_SIGNED})\s*"
_COUNT: Final = r"(?:\d+(?:[.,]\d+)?|an?|half an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_COUNTED: Final = rf"{_COUNT}\s?{_UNIT}(?![a-z]|\sof\b)"
_DEGREE: Final = (
    r"(?:essential|optional|critical|mandatory|required|(?:must|should|could|nice to)[ -]have"
    r"|zwingend|pflicht|muss|wesentlich|esencial|obligatorio|opcional|imprescindible|essentiel"
    r"|obligatoire|facultatif|optionnel|必须|必需|必备|可选)"
)
_GRAVE: Final = (
    r"(?:pitfall|penalty|penalties|deduction|malus|red flag|abzug|punktabzug|minuspunkte?"
    r"|penalizaci[oó]n|deducci[oó]n|p[ée]nalit[ée]|d[ée]duction|扣分项?|减分项?)s?"
)
_FAULT: Final = (
    rf"(?:{_GRAVE}|(?:negative|neg|defect|error|mistake|flaw|demerit|violation|trap|failure|veto|minus"
    r"|avoid|do not|don['’]?t|bad|wrong|incorrect|harmful"
    r"|anti-?pattern|negativ|fehler|negativo|defecto|n[ée]gatif|erreur|d[ée]faut|pi[èe]ge)s?"
    r"|负面|负向|错误|陷阱)"
)
_WEIGHT_AHEAD: Final = re.compile(
    rf"[\s•#>]*(?:[\[(]{_MARK}[\])]|{_MARK}[:|]|{_WEIGHT}\s+[—–-]\s"
    rf"|{_SIGNED}\s+(?=(?-i:[A-Z][a-z]))|\d+[\s-]?{_UNIT}\s(?:for|if|when|für|wenn|por|si|pour)\b"
    rf"|weight\s?[=:]\s?{_SIGN}?\d|(?:award|add|give|grant)\s(?:up to )?{_COUNTED}"
    rf"|(?:essential|important|optional) criteri(?:a|on)\s?:|{_DEGREE}\s?:|[\[(]{_DEGREE}[\])])",
    re.IGNORECASE,
)
# One class of characters, none of them a letter, begins it: such a search skips the others fast.
_WEIGHT_BEHIND: Final = re.compile(
    rf"[\[(:;,|>—–\s](?:(?<=[\[(])(?<![=<>+*/^-] [\[(])(?:{_MARK}|{_DEGREE}|{_GRAVE})[\])]"
    rf"|(?<=[:;—–])\s*{_WEIGHT}|(?<=[:|—–])(?<!answer:)(?<!result:)(?<!value:)\s*{_SIGNED}"
    rf"|(?<=\D,)\s*{_SIGNED}|(?<=[=-]>)\s*{_SIGNED}|(?<=\s)(?=[+−–-]){_WEIGHT}"
    rf"|(?<=\s)weight[=:]\s?{_SIGN}?\d+(?:\.\d+)?)[\s.]*$",
    re.IGNORECASE,
)
"""As in "[-2] …", "5 points: …", "… (weight: 3)"; a plain number in brackets is a citation."""
_FIELD_IN_TEXT: Final = re.compile(
    r"\n[ \t-]{0,9}(?:weight|points|score|polarity|sign)[ \t]?[:=][ \t]?"
    r"[\"']?(?:[+-]?\d[\d.]{0,9}|negative|positive)[\"']?[ \t]?(?:\n|$)",
    re.IGNORECASE,
)
"""A line of YAML."""
_DEFECT_IN_TEXT: Final = re.compile(
    rf"[\s•#>-]*(?:{_FAULT}(?: (?:criteri(?:a|on)|items?|rubrics?))?\s?[:=]|{_GRAVE}\s+[—–-]\s"
    rf"|[\[(](?:{_FAULT}|[−–-])[\])]|[❌✗✘⛔🚫👎]"
    rf"|(?:subtract|deduct|lose|dock|take off)\s(?:up to )?"
    rf"(?:{_COUNTED}|{_COUNT}\s?(?:$|(?:if|for|when|unless|per)\b))"
    r"|penali[sz]e\s(?:if|for|when|any|answers?|responses?)\b"
    rf"|(?:ziehe?|restar?|retire[rz]?|enleve[rz]?)\s{_NUMBER}\s?{_UNIT}|扣\s?\d+\s?分)",
    re.IGNORECASE,
)
_LEVELS_IN_TEXT: Final = re.compile(r"\s*\d+\s?[=:]\s?\D{1,80}[,;/\n]\s*\d+\s?[=:]")
"""As in "0 = absent, 5 = present"."""
_NUMERAL: Final = re.compile(r"[+−-]?(?:\d{1,9}(?:\.\d{0,17})?|\.\d{1,17})", re.ASCII)
_PITFALL: Final = re.compile(r"pitfalls?\b", re.IGNORECASE)


def json_in(text: str) -> Any:
    try:
        return loads(text, unique=True)
    except (Bulky, RepeatedKey):
        raise
    except (ValueError, RecursionError):
        return None


def read_weight(item: Mapping[str, Any]) -> tuple[str | None, float]:
    """The signed weight and its key; None and 1 where none is given. Raises `ValueError`."""
    given = {key: item[key] for key in WEIGHTS if key in item}
    if "raw" in item or (given.get("weight") is not None and _is_verdict(given.get("score"))):
        given.pop("score", None)
    values = {key: _to_number(key, value) for key, value in given.items()}
    for key, value in values.items():
        # That of `weight` has a place of its own in the criterion. NaN is not below either.
        if key != "weight" and not abs(value) <= MOST_WEIGHT:
            told = f"finite and at most {MOST_WEIGHT:.0f}, not {reprlib.repr(value)}"
            raise ValueError(f"{key} must be {told}")
    if len(set(values.values())) > 1:
        raise ValueError(f"has two weights, {_pairs(values)}; keep one")
    return next(iter(values.items()), (None, 1.0))


def _to_number(key: str, value: object) -> int | float:
    """A number, also as text or a decimal of a table. Raises `ValueError`."""
    if isinstance(value, str) and _NUMERAL.fullmatch(value.strip()):
        return float(value.strip().replace("−", "-"))
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} must be a number, not {reprlib.repr(value)}")
    return value


def _is_verdict(score: Any) -> bool:
    return isinstance(score, int | float) and 0 <= score <= 1


def _pairs(given: Mapping[str, object]) -> str:
    return " and ".join(f"{key} {value}" for key, value in given.items())


def read_sign(item: Mapping[str, Any], settled: Set[str]) -> Polarity | None:
    """What the object calls itself; None where it says nothing of the kind."""
    given: dict[str, Polarity] = {}
    for key in SIGNS:
        if key not in item:
            continue
        value = item[key]
        word = "" if isinstance(value, bool) else str(value).strip().casefold()
        if word in POLARITIES or (word in _UNITS and key != "type"):
            given[key] = POLARITIES.get(word) or _UNITS[word]
        # A `type` is often a kind of another sort.
        elif key != "type" or could_matter(key, value, settled):
            way = "or be named in CITEMARK_IGNORED_RUBRIC_KEYS"
            told = f"must be 'positive' or 'negative', not {reprlib.repr(value)}, {way}"
            raise ValueError(f"{key} {told}")
    if len(set(given.values())) > 1:
        raise ValueError(f"has two signs, {_pairs(given)}; keep one")
    return next(iter(given.values()), None)


def could_matter(key: str, value: Any, settled: Set[str] = frozenset()) -> bool:
    """Whether a key that is not read may hold a weight, sign, level, condition or nesting."""
    if not isinstance(value, str) or _is_telling(key[:_LONGEST_KEY]):
        return True
    text = value.strip()
    if _words_of_weight(text[:_LABEL_CUT]) - settled or _QUANTITY.fullmatch(text):
        return True
    if _LEVELS_IN_TEXT.match(text) or _text_hint(text, settled):
        return True
    if text.startswith(("[", "{")):
        return bool(OPENED.match(text)) or isinstance(json_in(text), list | dict)
    return False


@lru_cache(maxsize=4096)  # the rubrics of a data set have the same keys again and again
def _is_telling(key: str) -> bool:
    words = re.split(r"[\W_]+", _CAMEL.sub("_", key).casefold())
    return (
        not _TELLING_KEYS.isdisjoint(words)
        or key.casefold() in POLARITIES
        or _LEVEL.fullmatch(key) is not None
    )


@lru_cache(maxsize=4096)
def _words_of_weight(text: str) -> Set[str]:
    """The words of sign and degree of which a short text consists; none if it says more."""
    if len(text) > _LONGEST_LABEL:
        return frozenset()
    words = set(_WORD.findall(_PHRASE.sub("pitfall", text.casefold()))) - _FILLERS
    return words if words <= _SIGN_WORDS | _DEGREES | _ANSWERS else frozenset()


def weight_hint(item: Mapping[str, Any], texts: Sequence[str], settled: Set[str]) -> str:
    """What labels and texts seem to say of a weight or a sign that is not given, empty for nothing.

    The last of the texts is the title, empty where the statement is its own.
    """
    labels = {"title": texts[-1], **{key: item[key] for key in LABELS if key in item}}
    for key, value in labels.items():
        for label in value if isinstance(value, list) else [value]:
            if _is_weighty(key, label, settled):
                return f"{key} {reprlib.repr(label)} may be a weight or a sign"
    return next(filter(None, (_text_hint(text, settled) for text in texts if text)), "")


def _is_weighty(key: str, label: object, settled: Set[str]) -> bool:
    """Whether a label is the word or number of a weight or a sign that is not `settled`."""
    if not isinstance(label, str):
        number = isinstance(label, int | float) and "low" not in settled
        return isinstance(label, Mapping) or (number and key != "source")
    text = label.strip()
    if _words_of_weight(text[:_LABEL_CUT]) - settled:
        return True
    # A title may be the number of its criterion.
    numbered = key == "source" or (key == "title" and text.isalnum())
    if "low" not in settled and not numbered and _QUANTITY.fullmatch(text):
        return True
    return ("bad" not in settled and _PITFALL.match(text) is not None) or (
        key != "title" and bool(_text_hint(text, settled))
    )


def _text_hint(text: str, settled: Set[str]) -> str:
    """What the beginning or the end of a text seems to say of a weight or a sign."""
    head, tail = text[:_END], text[-_END:]
    if not text.isascii():
        head, tail = head.translate(_WIDE), tail.translate(_WIDE)
    if any(mark in text for mark in "*_`~"):
        head, tail = _EMPHASIS.sub("", head), _EMPHASIS.sub("", tail)
    if "low" not in settled and (
        found := _WEIGHT_AHEAD.match(head)
        or _WEIGHT_BEHIND.search(tail)
        or _FIELD_IN_TEXT.search(text)
    ):
        return f"the text seems to say a weight, {reprlib.repr(found[0].strip())}"
    if "bad" not in settled and (found := _DEFECT_IN_TEXT.match(head)):
        return f"the text seems to name a defect, {reprlib.repr(found[0].strip())}"
    return ""
