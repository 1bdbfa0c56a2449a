"""Columns that may hold rubrics, or their weights or signs, apart from what is read. Pure."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from citemark_schemas.cells import TooDeep, list_in, object_in, to_json_value
from citemark_schemas.details import LONGEST_KEY, clip
from citemark_schemas.weights import POLARITIES, Polarity, could_matter

RUBRICS: Final = ("positive_rubrics", "negative_rubrics", "rubrics")
RUBRIC_COLUMNS: Final = (
    "rubric", "criteria", "criterions", "checklist", "checklists", "rubric_items", "rubric_list",
    "rubrics_list", "rubric_json", "score_rubric", "grading_criteria", "evaluation_criteria",
    "instance_rubrics",
)  # fmt: skip
"""Where data sets keep rubrics as well."""
_SIGNED: Final = re.compile(
    r"(?:positive|negative|pos|neg|pitfall|penalt(?:y|ies)|red_flag|defect|violation)s?"
    r"(?:_(?:rubric|criteri[ao]n?|checklist|item)s?)?"
    r"|(?:rubric|criteri[ao]n?|checklist|item)s?_(?:positive|negative|pos|neg)s?"
)
"""Columns of rubrics that have one sign."""
_WEIGHTS: Final = re.compile(
    r"(?:(?:rubric|criteri)[a-z]*_)?"
    r"(?:weight|point|polarit|sign|importance|penalt|is_negative|is_positive)(?:y|ies|s)?",
    re.IGNORECASE,
)
"""Columns that say nothing but weights or signs."""
_WEIGHT_LIKE: Final = re.compile(
    r"weight|point|score|polarit|sign(?!al)|importan|penalt|severit|priorit|level|negativ|positiv"
    r"|type|kind|categor",
    re.IGNORECASE,
)
_WEIGHTS_APART: Final = (
    "holds several, like weights or signs of rubrics, and is not read: give each rubric its "
    "own 'weight', or name the column in CITEMARK_IGNORED_RUBRIC_KEYS"
)
_SIGN_APART: Final = (
    "may be the sign of the rubrics, and is not read: give each rubric its own 'weight' or "
    "'polarity', or name the column in CITEMARK_IGNORED_RUBRIC_KEYS"
)
RUBRICS_APART: Final = (
    "looks like rubrics, of which only 'rubrics', 'positive_rubrics' and 'negative_rubrics' are "
    "read: move it there, or name the column in CITEMARK_IGNORED_RUBRIC_KEYS"
)


def columns_apart(
    unread: Mapping[Any, Any], counts: Set[int], ignored: Set[str], *, nested: bool = True
) -> Iterator[tuple[str, str]]:
    """Path and fault of each column that could change what the rubrics say.

    Args:
        unread: columns that nobody reads; objects among them are looked into once.
        counts: how many rubrics there are, in all and in each list; empty where there are none.
        ignored: columns that are knowingly not read.
        nested: whether objects are looked into.
    """
    for key, cell in unread.items():
        name = str(key)[: LONGEST_KEY + 1]
        if name in ignored:
            continue
        path = clip(name, LONGEST_KEY)
        if told := _apart_message(name, cell, counts):
            yield path, told
        elif nested and (held := _object_in(cell)):
            for inner, told in columns_apart(held, counts, ignored, nested=False):
                yield f"{path}.{inner}", told
        elif not nested and name in RUBRICS and _structure_in(cell):
            yield path, RUBRICS_APART


def _apart_message(name: str, cell: object, counts: Set[int]) -> str:
    """What is said of a column of rubrics, or of weights or signs where there are `counts`."""
    plain = re.sub(r"[ -]", "_", name.casefold())
    signed = counts and _SIGNED.fullmatch(plain)
    rubrics, weights = plain in RUBRIC_COLUMNS or signed, _WEIGHTS.fullmatch(name)
    if not (rubrics or (counts and (weights or _WEIGHT_LIKE.search(name)))):
        return ""
    try:
        held = _structure_in(cell)
    except TooDeep as error:
        return str(error)
    if rubrics and (held or not weights):
        return RUBRICS_APART if held else ""
    if weights and _is_negative(name, cell):
        return _SIGN_APART
    column = list(held.values()) if isinstance(held, dict) else held or []
    if weights and isinstance(cell, str) and held is None:
        column = cell.split(",")[1:]  # one alone is the row's own
    apart = weights or len(column) in counts
    return _WEIGHTS_APART if apart and any(could_matter("", each) for each in column) else ""


def _is_negative(name: str, cell: object) -> bool:
    """Whether one value turns rubrics round, which no weight of a row does."""
    if isinstance(cell, bool):
        return cell and name.casefold().endswith("is_negative")
    if isinstance(cell, str):
        return POLARITIES.get(cell.strip().casefold()) is Polarity.NEGATIVE
    return isinstance(cell, int | float) and cell < 0


def _object_in(cell: object) -> Mapping[Any, Any] | None:
    try:
        return None if isinstance(cell, list) else object_in(cell)
    except TooDeep:
        return None


def _structure_in(cell: object) -> dict[str, Any] | list[Any] | None:
    """The object or list that a cell holds, be it as JSON text. Raises `TooDeep`."""
    value = to_json_value((list_in(cell) or object_in(cell)) if isinstance(cell, str) else cell)
    return value if isinstance(value, dict | list) else None
