"""Criteria and the shapes in which real data carries them.

Accepted for `positive_rubrics`, `negative_rubrics` and `rubrics`: a list of strings, a list of
objects (`description`, `rubric_item` or `Ingredient`; optional `title`, `weight`), or one JSON
string of either. In `rubrics` a negative weight, or `polarity`, makes a criterion negative.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from citemark_schemas.model import ClosedModel

TEXT_KEYS = ("description", "rubric_item", "Ingredient")
_KEYS = {*TEXT_KEYS, "title", "weight", "polarity", "source"}
_NEAR = 0.8  # "wieght" is .83 from "weight"; "type", "tags" and "category" are below .5
_TITLE_LIMIT = 80


class Polarity(StrEnum):
    """Whether meeting the criterion is good (`positive`) or is a defect (`negative`)."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


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
    """Undo one level of JSON in a string: some data sets store the list as text."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None  # an empty cell of a table
    try:
        return json.loads(value)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is a string but not JSON: {error}") from error


def _make_title(text: str) -> str:
    """A title for a bare criterion: what stands before its first colon, or its first words."""
    head, colon, _ = text.partition(":")
    if colon and 0 < len(head.strip()) <= _TITLE_LIMIT:
        return head.strip()
    return text if len(text) <= _TITLE_LIMIT else text[: _TITLE_LIMIT - 1].rstrip() + "…"


def _item_text(item: Mapping[str, Any], position: int) -> str:
    for key in TEXT_KEYS:
        value = item.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise ValueError(f"item {position}: needs a non-empty one of {', '.join(TEXT_KEYS)}")


def _read_weight(item: Mapping[str, Any], position: int, fixed: Polarity | None) -> dict[str, Any]:
    """Weight and polarity of one object, with a negative weight read as a negative criterion."""
    weight = item.get("weight")
    weight = 1.0 if weight is None else weight
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise ValueError(f"item {position}: weight must be a number, not {weight!r}")
    polarity = item.get("polarity") or fixed
    if weight < 0 and polarity == Polarity.POSITIVE:
        raise ValueError(f"item {position}: has a negative weight but is a positive criterion")
    if fixed is not None and polarity != fixed:
        raise ValueError(f"item {position}: contradicts its place among the {fixed.value} rubrics")
    inferred = Polarity.NEGATIVE if weight < 0 else Polarity.POSITIVE
    return {"weight": abs(weight), "polarity": polarity or inferred}


def _refuse_misspelt(item: Mapping[str, Any], position: int) -> None:
    """Data sets carry keys of their own, which are left alone; a slip of the pen is not one."""
    for key in item.keys() - _KEYS:
        near = difflib.get_close_matches(str(key).casefold(), _KEYS - item.keys(), 1, _NEAR)
        if near:
            raise ValueError(f"item {position}: key {key!r} is unknown; did you mean {near[0]!r}?")


def _normalise(item: Any, position: int, fixed: Polarity | None) -> Any:
    if isinstance(item, Criterion):
        # Dumped as given, so that a default polarity does not contradict the list it stands in.
        item = item.model_dump(exclude_unset=True)
    if isinstance(item, str):
        item = {"description": item}
    if not isinstance(item, Mapping):
        raise ValueError(f"item {position}: must be a string or an object, not {item!r}")
    _refuse_misspelt(item, position)
    text = _item_text(item, position)
    title = item.get("title")
    named = title.strip() if isinstance(title, str) and title.strip() else _make_title(text)
    return {"title": named, "description": text, **_read_weight(item, position, fixed)}


def _list_of(value: Any, fixed: Polarity | None) -> list[Any]:
    items = _decode(value)
    if items is None:
        return []
    if isinstance(items, Mapping) or not isinstance(items, Iterable) or isinstance(items, str):
        raise ValueError("must be a list of rubrics, or a JSON string of one")
    return [_normalise(item, position, fixed) for position, item in enumerate(items)]


_SHAPES = {
    "anyOf": [
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "properties": {
                            "title": {"type": "string"},
                            "description": {"type": "string"},
                            "rubric_item": {"type": "string"},
                            "Ingredient": {"type": "string"},
                            "weight": {"type": "number"},
                            "polarity": {"enum": ["positive", "negative"]},
                        },
                    },
                ]
            },
        },
        {"type": "string", "description": "a JSON string of such a list"},
    ]
}


_SHAPES_SCHEMA = WithJsonSchema(_SHAPES, mode="validation")

PositiveRubrics = Annotated[
    tuple[Criterion, ...],
    BeforeValidator(lambda value: _list_of(value, Polarity.POSITIVE)),
    _SHAPES_SCHEMA,
]
NegativeRubrics = Annotated[
    tuple[Criterion, ...],
    BeforeValidator(lambda value: _list_of(value, Polarity.NEGATIVE)),
    _SHAPES_SCHEMA,
]
MixedRubrics = Annotated[
    tuple[Criterion, ...],
    BeforeValidator(lambda value: _list_of(value, None)),
    _SHAPES_SCHEMA,
]
