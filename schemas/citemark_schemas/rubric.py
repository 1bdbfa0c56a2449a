"""Criteria and the shapes in which real data carries them.

Accepted for `positive_rubrics`, `negative_rubrics` and `rubrics`: a list of strings and objects,
columns of equal length, lists under `positive` and `negative`, or JSON text of any of these. Of an
object are read its statement (`STATEMENTS`), `title`, its weight (`weight`, `points` or `score`,
negative for a defect) and its sign (`polarity`, `sign` or `type`). Any other key whose value could
be a weight, a sign or a nesting is refused, unless the validation context lists it under
`IGNORED_KEYS`: what it means would be lost unsaid.
"""

import difflib
import json
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from citemark_schemas.cells import rows_in
from citemark_schemas.model import ClosedModel

IGNORED_KEYS: Final = "ignored_rubric_keys"
"""In pydantic's validation context: a set of keys of rubrics that are knowingly not read."""

STATEMENTS: Final = (
    "description", "rubric_item", "Ingredient", "criterion", "criteria", "requirement",
    "requirements", "text", "name",
)  # fmt: skip
"""Where the text of a criterion stands, strongest first."""
_TITLES: Final = ("title", "name", "criterion")
_WEIGHTS: Final = ("weight", "points", "score")
_SIGNS: Final = ("polarity", "sign", "type")
_BYSTANDERS: Final = frozenset({"id", "tags", "axis", "source"})  # and whatever ends in "_id"
_LISTS: Final = ("rubrics", "criteria")
"""Under which an object may hold the list itself."""
_VERDICT: Final = frozenset({"raw", "score", "evidence", "evidence_found"})
"""What our own results say of a criterion beside its fields; `raw` distinguishes them."""
_NAMES: Final = frozenset({*STATEMENTS, *_TITLES, *_WEIGHTS, *_SIGNS})
_NEAR: Final = 0.82  # "wieght" is .83 from "weight", "rubric_id" .80 from "rubric_item"
GRADED: Final = ("Answer Critical", "Valuable", "Context")
"""Where older data sets for deep research keep their rubrics, by importance."""
_LEVEL: Final = re.compile(
    r"(?:(?:score|level|grade|rating|option|band|anchor)s?[ _-]?)?\d+(?:[ _-].*)?", re.IGNORECASE
)
_TITLE_LIMIT: Final = 80
_MOST_NAMED: Final = 3
_STRINGS_WITHIN: Final = 3  # some writers encode a column that was encoded already


class Polarity(StrEnum):
    """Whether meeting the criterion is good (`positive`) or is a defect (`negative`)."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


_WORDS: Final = {
    **dict.fromkeys(("positive", "pos", "plus", "+"), Polarity.POSITIVE),
    **dict.fromkeys(("negative", "neg", "minus", "-", "−", "–"), Polarity.NEGATIVE),
}
# These may be a sign as well, but which is a guess.
_SIGN_LIKE: Final = frozenset({
    *_WORDS, "good", "bad", "bonus", "malus", "penalty", "reward", "pitfall", "desirable",
    "undesirable", "desired", "undesired", "true", "false", "yes", "no",
})  # fmt: skip


class Source(StrEnum):
    """Where a criterion came from: the row (`instance`) or the static set (`static`)."""

    INSTANCE = "instance"
    STATIC = "static"


class Criterion(ClosedModel):
    """One thing to judge. A negative criterion is judged for presence and flipped in code."""

    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    polarity: Polarity = Polarity.POSITIVE
    weight: float = Field(1.0, ge=0, le=1e6, allow_inf_nan=False)
    """Share in the weighted mean, in [0, 1e6]; its sign is spelled by `polarity`."""
    source: Source = Source.INSTANCE

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two criteria the same one: polarity, title and description."""
        return (self.polarity.value, self.title, self.description)


def _decode(value: Any) -> Any:
    """Undo the levels of JSON in a string: some data sets store the list as text."""
    for _ in range(_STRINGS_WITHIN):
        if not isinstance(value, str):
            break
        if not value.strip():
            return None  # an empty cell of a table
        try:
            value = json.loads(value)
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error
        except ValueError as error:
            raise ValueError(f"is a string but not JSON: {error}") from error
    return value


def _make_title(text: str) -> str:
    """A title for a bare criterion: what stands before its first colon, or its first words."""
    head, colon, _ = text.partition(":")
    if colon and 0 < len(head.strip()) <= _TITLE_LIMIT:
        return head.strip()
    return text if len(text) <= _TITLE_LIMIT else text[: _TITLE_LIMIT - 1].rstrip() + "…"


def _is_empty(value: Any) -> bool:
    """Whether a cell says nothing; NaN stands for a missing one in tables."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or value in ([], {}) or value != value  # noqa: PLR0124


def could_matter(key: str, value: Any) -> bool:
    """Whether a key that is not read may hold a weight, a sign, a level or a nesting."""
    if not isinstance(value, str):
        return True
    word = value.strip().casefold()
    if word in _SIGN_LIKE or _LEVEL.fullmatch(key):
        return True
    try:
        float(word.removesuffix("%"))
    except ValueError:
        return word.startswith(("[", "{")) and isinstance(_json_in(value), list | dict)
    return True


def _json_in(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _refuse_unread(item: Mapping[str, Any]) -> None:
    """Data sets carry keys of their own; what they could mean to the reward is not guessed."""
    bystanders = _BYSTANDERS | (_VERDICT if "raw" in item else frozenset())
    # A statement or title that is no text is a nesting like any other.
    read = {*_WEIGHTS, *_SIGNS, *(key for key in (*STATEMENTS, "title") if _text(item, key))}
    rest = [key for key in item if key not in read | bystanders and not key.endswith("_id")]
    for key in rest:
        absent = _NAMES - item.keys()
        near = difflib.get_close_matches(key[:_TITLE_LIMIT].casefold(), absent, 1, _NEAR)
        if near and key not in _NAMES:
            raise ValueError(f"key {key!r} is unknown; did you mean {near[0]!r}?")
    unread = [reprlib.repr(key) for key in rest if could_matter(key, item[key])]
    if unread:
        raise ValueError(
            f"{', '.join(unread[:_MOST_NAMED])} may be a weight, a sign or a nesting; read are "
            "'weight' or 'points' (negative for a defect) and 'polarity': rename it, remove it, or "
            "name it in CITEMARK_IGNORED_RUBRIC_KEYS"
        )


def _text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _read_statement(item: Mapping[str, Any]) -> tuple[str, str]:
    """Title and description; refuses an object with two statements of which one would be lost."""
    found = [(key, text) for key in STATEMENTS if (text := _text(item, key))]
    if not found:
        raise ValueError(f"needs a non-empty one of {', '.join(STATEMENTS)}")
    (first, statement), rest = found[0], dict(found[1:])
    title = next((key for key in _TITLES if key != first and _text(item, key)), None)
    lost = [key for key, text in rest.items() if key != title and text != statement]
    if lost:
        raise ValueError(f"{first!r} and {lost[0]!r} are two statements; make them two rubrics")
    return (_make_title(statement) if title is None else str(_text(item, title))), statement


def _read_weight(item: Mapping[str, Any]) -> float:
    """The signed weight; 1 where none is given."""
    given = {key: item[key] for key in _WEIGHTS if item.get(key) is not None}
    if "raw" in item or ("weight" in given and _is_verdict(given.get("score"))):
        given.pop("score", None)
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{key} must be a number, not {reprlib.repr(value)}")
    values = list(given.values())
    if any(value != values[0] for value in values[1:]):
        raise ValueError(f"has two weights, {_pairs(given)}; keep one")
    return values[0] if values else 1.0


def _is_verdict(score: Any) -> bool:
    return isinstance(score, int | float) and 0 <= score <= 1


def _pairs(given: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} {value!r}" for key, value in given.items())


def _read_sign(item: Mapping[str, Any]) -> Polarity | None:
    """What the object calls itself; None where it says nothing of the kind."""
    given: dict[str, Polarity] = {}
    for key in _SIGNS:
        if key not in item:
            continue
        value = item[key]
        word = value.strip().casefold() if isinstance(value, str) else value
        if isinstance(word, str) and word in _WORDS:
            given[key] = _WORDS[word]
        # A `type` is often a kind of another sort.
        elif key != "type" or could_matter(key, value):
            raise ValueError(f"{key} must be 'positive' or 'negative', not {reprlib.repr(value)}")
    if len(set(given.values())) > 1:
        raise ValueError(f"has two signs, {_pairs(given)}; keep one")
    return next(iter(given.values()), None)


def _read_criterion(item: Any, fixed: Polarity | None, ignored: Set[str]) -> dict[str, Any]:
    if isinstance(item, Criterion):
        # Dumped as given, so that a default polarity does not contradict the list it stands in.
        item = item.model_dump(exclude_unset=True)
    if isinstance(item, str):
        held = _json_in(item) if item.lstrip().startswith("{") else None
        item = held if isinstance(held, dict) else {"description": item}
    if not isinstance(item, Mapping):
        raise ValueError(f"must be a string or an object, not {reprlib.repr(item)}")
    item = {
        str(key): value
        for key, value in item.items()
        if str(key) not in ignored and (key in _WEIGHTS or not _is_empty(value))
    }
    title, statement = _read_statement(item)
    _refuse_unread(item)
    weight, sign = _read_weight(item), _read_sign(item)
    if weight < 0 and (sign or fixed) == Polarity.POSITIVE:
        raise ValueError("has a negative weight but is a positive criterion")
    if fixed is not None and (sign or fixed) != fixed:
        raise ValueError(f"contradicts its place among the {fixed.value} rubrics")
    inferred = Polarity.NEGATIVE if weight < 0 else Polarity.POSITIVE
    polarity = sign or fixed or inferred
    return {
        "title": title,
        "description": statement,
        "weight": abs(weight),
        "polarity": polarity,
    }


def _spread(
    held: Mapping[str, Any], fixed: Polarity | None
) -> Iterator[tuple[Any, Polarity | None]]:
    """The rubrics of an object that holds several, each with the polarity of its place."""
    if any(_text(held, key) for key in STATEMENTS):
        yield held, fixed  # one rubric alone
    elif any(isinstance(held.get(key), list) for key in STATEMENTS):
        rows = rows_in(held)
        if rows is None:
            raise ValueError("is an object of columns that are not equally long")
        yield from ((row, fixed) for row in rows)
    elif all(name in GRADED or name.casefold() in _WORDS for name in held):
        for name, group in held.items():
            sign = None if name in GRADED else _WORDS[name.casefold()]
            if sign is not None and fixed not in (None, sign):
                raise ValueError(f"{name!r} contradicts its place among the {fixed} rubrics")
            yield from ((item, sign or fixed) for item in _to_items(group))
    else:
        names = ", ".join(map(reprlib.repr, list(held)[:_MOST_NAMED]))
        raise ValueError(
            f"is an object with the keys {names}: write a list of rubrics, each with its own "
            "'weight' and 'polarity', or lists under 'positive' and 'negative'"
        )


def _to_items(value: Any) -> Iterable[Any]:
    value = _decode(value)
    if value is None:
        return ()
    if isinstance(value, Mapping | str) or not isinstance(value, Iterable):
        raise ValueError("must be a list of rubrics, or a JSON string of one")
    return value


def _unwrap(value: Any, ignored: Set[str]) -> Any:
    """What holds the rubrics: not the JSON text, nor the object or list of one around it."""
    value = _decode(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        # Some trainers allow several labels a row.
        only: Mapping[Any, Any] = value[0]
        texts = any(_text(only, key) for key in STATEMENTS)
        value = value if texts or not any(map(_is_nested, only.values())) else only
    if not isinstance(value, Mapping):
        return value
    held = {str(key): cell for key, cell in value.items() if str(key) not in ignored}
    for name in _LISTS:
        # A list of texts under `criteria` is a column.
        if (name == "rubrics" and name in held) or _holds_objects(held.get(name)):
            inner = _decode(held.pop(name))
            _refuse_unread({key: cell for key, cell in held.items() if not _is_empty(cell)})
            return inner
    return held


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _read_rubrics(value: Any, fixed: Polarity | None, ignored: Set[str]) -> list[Any]:
    value = _unwrap(value, ignored)
    if isinstance(value, Mapping):
        placed = list(_spread(value, fixed))
    else:
        placed = [(item, fixed) for item in _to_items(value)]
    criteria = []
    for position, (item, polarity) in enumerate(placed):
        try:
            criteria.append(_read_criterion(item, polarity, ignored))
        except ValueError as error:
            raise ValueError(f"item {position}: {error}") from error
    return criteria


def _reader(fixed: Polarity | None) -> BeforeValidator:
    def read(value: Any, info: ValidationInfo) -> list[Any]:
        return _read_rubrics(value, fixed, (info.context or {}).get(IGNORED_KEYS, frozenset()))

    return BeforeValidator(read)


_ITEM_SCHEMA: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                **{key: {"type": "string"} for key in STATEMENTS},
                **{key: {"type": "number"} for key in _WEIGHTS},
                "polarity": {"enum": ["positive", "negative"]},
                "sign": {"enum": ["+", "-"]},
                "type": {"type": "string"},
            },
        },
    ]
}
_SHAPES_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "array", "items": _ITEM_SCHEMA},
            {
                "type": "object",
                "description": "columns of equal length, or lists under `positive` and `negative`",
            },
            {"type": "string", "description": "a JSON string of any of these"},
        ]
    },
    mode="validation",
)

PositiveRubrics = Annotated[tuple[Criterion, ...], _reader(Polarity.POSITIVE), _SHAPES_SCHEMA]
NegativeRubrics = Annotated[tuple[Criterion, ...], _reader(Polarity.NEGATIVE), _SHAPES_SCHEMA]
MixedRubrics = Annotated[tuple[Criterion, ...], _reader(None), _SHAPES_SCHEMA]
