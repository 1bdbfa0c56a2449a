"""Criteria and the shapes in which real data carries them.

Accepted for `positive_rubrics`, `negative_rubrics` and `rubrics`: a list of strings and objects,
columns of equal length, lists under `positive` and `negative`, or JSON text of any of these. Of an
object are read its statement (`STATEMENTS`) with its `explanation`, `title`, its weight (`weight`,
`points` or `score`, negative for a defect; 1 where the list has none) and its sign (`polarity`,
`sign` or `type`). Any other key that could be a weight, a sign, a condition or a nesting is
refused, unless the validation context lists it under `IGNORED_KEYS`, and so is a text or label that
seems to say what no key does: what it means would be lost unsaid.
"""

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema

from citemark_schemas.bulk import Bulky, RepeatedKey, loads
from citemark_schemas.cells import rows_in
from citemark_schemas.model import ClosedModel
from citemark_schemas.weights import (
    LABELS,
    MOST_WEIGHT,
    OPENED,
    POLARITIES,
    SETTLED,
    SIGNS,
    WEIGHTS,
    Polarity,
    could_matter,
    json_in,
    read_sign,
    read_weight,
    weight_hint,
)

IGNORED_KEYS: Final = "ignored_rubric_keys"
"""In pydantic's validation context: a set of keys of rubrics that are knowingly not read."""

STATEMENTS: Final = (
    "description", "rubric_item", "Ingredient", "criterion", "criteria", "requirement",
    "requirements", "text", "name",
)  # fmt: skip
"""Where the text of a criterion stands, strongest first."""
_EXPLANATION: Final = "explanation"
_TITLES: Final = ("title", "name", "criterion")
_BYSTANDERS: Final = frozenset({"id", *LABELS})  # and whatever ends in "_id"
_LISTS: Final = ("rubrics", "criteria")
"""Under which an object may hold the list itself."""
_VERDICT: Final = frozenset({"raw", "score", "evidence", "evidence_found"})
"""What our own results say of a criterion beside its fields; `raw` distinguishes them."""
_TEXTS: Final = frozenset({*STATEMENTS, *_TITLES})
RUBRIC_KEYS: Final = _TEXTS | {_EXPLANATION, *WEIGHTS, *SIGNS}
"""What is read of a criterion."""
_LONGEST_NAME: Final = 1 + max(map(len, RUBRIC_KEYS))
_NEAR: Final = 0.82  # "wieght" is .83 from "weight", "rubric_id" .80 from "rubric_item"
GRADED: Final = ("Answer Critical", "Valuable", "Context")
"""Where older data sets for deep research keep their rubrics, by importance."""
_DUMPS: Final = "what Python or a cut left must be written by json.dumps(…)"
MOST_RUBRICS: Final = 2000
"""In one list; of no known data set a row has half as many."""
_TITLE_LIMIT: Final = 80
_MOST_NAMED: Final = 3
_STRINGS_WITHIN: Final = 3  # some writers encode a column that was encoded already


class Source(StrEnum):
    """Where a criterion came from: the row (`instance`) or the static set (`static`)."""

    INSTANCE = "instance"
    STATIC = "static"


class Criterion(ClosedModel):
    """One thing to judge. A negative criterion is judged for presence and flipped in code."""

    title: str = Field(min_length=1)
    """What results call it."""
    description: str = Field(min_length=1)
    """What the judge reads."""
    polarity: Polarity = Polarity.POSITIVE
    """`negative` for a defect."""
    weight: float = Field(1.0, ge=0, le=MOST_WEIGHT, allow_inf_nan=False)
    """Share in the weighted mean, in [0, 1e6]; its sign is spelled by `polarity`."""
    source: Source = Source.INSTANCE
    """Whether the row brought it or the static set."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two criteria the same one: polarity, title and description."""
        return (self.polarity.value, self.title, self.description)


def _decode(value: Any) -> Any:
    """Undo the levels of JSON in a string: some data sets store the list as text."""
    if isinstance(value, bytes):  # JSON in a column of Parquet
        value = value.decode("utf-8", "replace")
    for _ in range(_STRINGS_WITHIN):
        if not isinstance(value, str):
            break
        if not value.strip():
            return None  # an empty cell of a table
        try:
            value = loads(value, unique=True)
        except RecursionError as error:
            raise ValueError("is nested too deeply") from error
        except (Bulky, RepeatedKey):
            raise
        except ValueError as error:
            way = "write a list of rubrics, one text or object for each"
            if OPENED.match(value):
                way = f"{error}; {_DUMPS}"
            raise ValueError(f"is a string but not JSON: {way}") from error
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


def _slips_of(word: str) -> set[str]:
    """The word, and what is left of it without one letter: two words one slip apart share one."""
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


_NAMES_BY_SLIP: Final = {slip: name for name in sorted(RUBRIC_KEYS) for slip in _slips_of(name)}


@lru_cache(maxsize=4096)  # the rubrics of a data set have the same keys again and again
def _misspelt(key: str) -> str | None:
    """The key that is read of which this is a slip; in bounded time, which difflib alone is not."""
    if len(key) > _LONGEST_NAME or key in RUBRIC_KEYS:
        return None
    folded = key.casefold()
    found = {_NAMES_BY_SLIP[slip] for slip in _slips_of(folded) if slip in _NAMES_BY_SLIP}
    near = difflib.get_close_matches(folded, found, 1, _NEAR)
    return near[0] if near else None


def _refuse_unread(
    item: Mapping[str, Any], read: Set[str], settled: Set[str] = frozenset()
) -> None:
    """Data sets carry keys of their own; what they could mean to the reward is not guessed."""
    rest = [key for key in item if key not in read and not key.endswith("_id")]
    for key in rest:
        near = None if _is_nested(item[key]) else _misspelt(key)
        if near is not None and near not in item:
            raise ValueError(f"key {key!r} is unknown; did you mean {near!r}?")
    unread = (reprlib.repr(key) for key in rest if could_matter(key, item[key], settled))
    if named := ", ".join(islice(unread, _MOST_NAMED)):
        raise ValueError(
            f"{named} may be a weight, a sign, a condition or a nesting; read are 'weight' or "
            "'points' (negative for a defect) and 'polarity': rename it, remove it, or name it in "
            "CITEMARK_IGNORED_RUBRIC_KEYS"
        )


def _text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _read_statement(item: Mapping[str, Any]) -> tuple[str, str]:
    """Title, empty where none is given, and description; of two statements one would be lost."""
    found = [(key, text) for key in STATEMENTS if key in item and (text := _text(item, key))]
    if not found:
        wrong = next((key for key in STATEMENTS if key in item), None)
        if wrong is not None:
            raise ValueError(f"{wrong} must be text, not {reprlib.repr(item[wrong])}")
        keys = ", ".join(map(reprlib.repr, list(item)[:_MOST_NAMED])) or "nothing"
        raise ValueError(f"needs a non-empty one of {', '.join(STATEMENTS)}, and has {keys}")
    (first, statement), rest = found[0], dict(found[1:])
    title = next((key for key in _TITLES if key != first and _text(item, key)), None)
    lost = [key for key, text in rest.items() if key != title and text != statement]
    if lost:
        raise ValueError(f"{first!r} and {lost[0]!r} are two statements; make them two rubrics")
    return ("" if title is None else str(_text(item, title))), statement


def _read_text(text: str) -> Any:
    """The object that a text is the JSON of, else a criterion of that text."""
    held = json_in(text) if text.lstrip().startswith(("{", "[")) else None
    if isinstance(held, dict | list):
        return held
    if OPENED.match(text):
        raise ValueError(f"begins like an object or a list but is no JSON; {_DUMPS}")
    return {"description": text}


def _read_criterion(
    item: Any, fixed: Polarity | None, ignored: Set[str]
) -> tuple[dict[str, Any], str | None]:
    """The criterion, and under which key its weight stands."""
    if isinstance(item, Criterion):
        # Dumped as given, so that a default polarity does not contradict the list it stands in.
        item = item.model_dump(exclude_unset=True)
    if isinstance(item, str):
        item = _read_text(item)
    if not isinstance(item, Mapping):
        told = "must be a text or an object with 'description' and 'weight'"
        raise ValueError(f"{told}, not {reprlib.repr(item)}")
    item = {
        str(key): value
        for key, value in item.items()
        if str(key) not in ignored
        and not (_is_empty(value) and not (key in WEIGHTS and isinstance(value, float)))
    }
    title, statement = _read_statement(item)
    explanation = _text(item, _EXPLANATION) or ""
    scale, weight = read_weight(item)
    sign = read_sign(item, SETTLED[scale is not None, weight < 0]) or fixed
    sign = sign or (Polarity.NEGATIVE if weight < 0 else None)
    settled = SETTLED[scale is not None, sign is not None]
    # A statement or title that is no text is a nesting like any other.
    texts = _TEXTS | {_EXPLANATION}
    nested = (key for key in item if key in texts and not isinstance(item[key], str))
    bystanders = _BYSTANDERS | _VERDICT if "raw" in item else _BYSTANDERS
    _refuse_unread(item, (RUBRIC_KEYS | bystanders).difference(nested), settled)
    if hint := weight_hint(item, (statement, explanation, title), settled):
        ways = [*(["'weight'"] if scale is None else []), *(["'polarity'"] if sign is None else [])]
        raise ValueError(f"{hint}: write an object with {' and '.join(ways)} beside the text")
    if weight < 0 and sign is Polarity.POSITIVE:
        way = "let its weight or its sign say which it is"
        raise ValueError(f"has negative {scale} but is a positive criterion: {way}")
    if fixed is not None and sign is not fixed:
        raise ValueError(f"contradicts its place among the {fixed.value} rubrics")
    criterion = {
        "title": title or _make_title(statement),
        "description": f"{statement}: {explanation}" if explanation else statement,
        "weight": abs(weight),
        "polarity": sign or Polarity.POSITIVE,
    }
    return criterion, scale


def _spread(
    held: Mapping[str, Any], fixed: Polarity | None
) -> Iterator[tuple[Any, Polarity | None]]:
    """The rubrics of an object that holds several, each with the polarity of its place."""
    if any(isinstance(held.get(key), Mapping) or _text(held, key) for key in STATEMENTS):
        yield held, fixed  # one rubric alone
    elif any(isinstance(held.get(key), list) for key in STATEMENTS):
        rows = rows_in(held)
        if rows is None:
            raise ValueError("is an object of columns that are not equally long")
        yield from ((row, fixed) for row in rows)
    elif all(name in GRADED or name.casefold() in POLARITIES for name in held):
        for name, group in held.items():
            sign = None if name in GRADED else POLARITIES[name.casefold()]
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
            rest = {key: cell for key, cell in held.items() if not _is_empty(cell)}
            _refuse_unread(rest, _BYSTANDERS)
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
    if len(placed) > MOST_RUBRICS:
        raise ValueError(f"has {len(placed)} rubrics, over {MOST_RUBRICS}")
    criteria: list[dict[str, Any]] = []
    scales: dict[str | None, int] = {}
    for position, (item, polarity) in enumerate(placed):
        try:
            criterion, scale = _read_criterion(item, polarity, ignored)
        except ValueError as error:
            raise ValueError(f"item {position}: {error}") from error
        criteria.append(criterion)
        # A text, or a criterion made in code, weighs 1 beside a `weight`.
        lacks = scale is None and not isinstance(item, Mapping)
        scales.setdefault("" if lacks else scale, position)
    scale = next((key for key in WEIGHTS if key in scales), None)
    without = [
        scales[key] for key in (None, "") if key in scales and (key is None or scale != "weight")
    ]
    if scale is not None and without:
        raise ValueError(
            f"item {min(without)}: has no {scale}, while item {scales[scale]} has: write an object "
            f"with {scale!r} beside the text"
        )
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
                **{key: {"type": ["number", "string"]} for key in WEIGHTS},
                "polarity": {"enum": ["positive", "negative"]},
                "sign": {"enum": ["+", "-", 1, -1]},
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
