"""A rollout's own data as the envelope that trainers carry, and the columns it has. Pure."""

from collections.abc import Mapping
from typing import Final

from pydantic_core import to_json

from citemark_schemas import Criterion, Knobs, Rollout
from citemark_service.trainers.shapes import Kind, ListOf, Shape

_KNOBS: Final[Mapping[type, Kind]] = {bool: Kind.FLAG, float: Kind.NUMBER, str: Kind.TEXT}
_RUBRIC: Final[Mapping[str, Shape]] = {
    "title": Kind.TEXT,
    "description": Kind.TEXT,
    "weight": Kind.NUMBER,
}
_SNIPPET: Final[Mapping[str, Shape]] = {
    "id": Kind.TEXT,
    "text": Kind.TEXT,
    "paper_id": Kind.TEXT,
}

RUBRICS: Final = ("positive_rubrics", "negative_rubrics", "rubrics")

FIELDS: Final[Mapping[str, Shape]] = {
    "id": Kind.TEXT,
    "group": Kind.TEXT,
    "question": Kind.TEXT,
    "tool_output": Kind.TEXT,
    "snippets": ListOf(_SNIPPET),
    "positive_rubrics": ListOf(_RUBRIC),
    "negative_rubrics": ListOf(_RUBRIC),
    "rubrics": ListOf({**_RUBRIC, "polarity": Kind.TEXT}),
    **{name: _KNOBS[type(field.default)] for name, field in Knobs.model_fields.items()},
}
"""What a data set says of a rollout: all that is known before the policy answers."""


def envelope_of(rollout: Rollout) -> dict[str, object]:
    """The given ones of `FIELDS`; rubrics as objects of one shape, as typed files need them."""
    given = rollout.model_dump(include=set(FIELDS), exclude_unset=True, exclude_none=True)
    for name in RUBRICS:
        criteria: tuple[Criterion, ...] = getattr(rollout, name)
        given[name] = [_plain(criterion, mixed=name == "rubrics") for criterion in criteria]
    if "snippets" in given:
        given["snippets"] = [dict(snippet) for snippet in given["snippets"]]
    return {name: given[name] for name in FIELDS if given.get(name) not in (None, [])}


def envelope_text(rollout: Rollout) -> str:
    """`envelope_of` as JSON, which no loader of data sets can reshape."""
    return to_json(envelope_of(rollout)).decode()


def _plain(criterion: Criterion, *, mixed: bool) -> dict[str, object]:
    polarity = {"polarity": criterion.polarity.value} if mixed else {}
    return {
        "title": criterion.title,
        "description": criterion.description,
        "weight": criterion.weight,
        **polarity,
    }
