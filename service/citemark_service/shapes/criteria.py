"""Criteria from structures that say weights by nesting: trees, dimensions and levels. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

from citemark_schemas.cells import object_in
from citemark_schemas.weights import could_matter

Criteria = list[dict[str, Any]]

_DEEPEST: Final = 64
_LEVEL: Final = re.compile(r"(?:orig_)?score_?(\d+)_description")
_LEVELLED: Final = ("criteria", "criteria_description", "orig_criteria", "criterion")
_LEAST: Final = 1e-9
_NODE: Final = frozenset({
    "id", "requirements", "requirement", "weight", "sub_tasks", "task_category",
    "finegrained_task_category", "score", "valid_score", "explanation", "judge_metadata",
})  # fmt: skip
"""Of a tree's node, the verdict of an earlier judge among it."""
_WITHIN: Final = frozenset({"id", "criterion", "explanation", "weight", "comment"})


def text_in(item: Mapping[str, Any], *names: str) -> str:
    """The first of these keys that holds text, stripped; empty where none does."""
    texts = (item.get(name) for name in names)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")


def weight_in(item: Mapping[str, Any], place: str) -> float:
    """The weight of a node, finite and at least 0. Raises `ValueError`."""
    value = item.get("weight")
    # `not value >= 0` holds for NaN too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{place}.weight must be a number of at least 0, not {value!r}")
    if value == float("inf"):
        raise ValueError(f"{place}.weight must be finite")
    return float(value)


def refuse_unread(item: Mapping[str, Any], known: Set[str], place: str) -> None:
    """What else an object says could change what it weighs. Raises `ValueError`."""
    for key, value in item.items():
        if key not in known and value not in (None, "", [], {}) and could_matter(key, value):
            way = "is not read and may be a weight, a sign or a nesting: remove it"
            raise ValueError(f"{place}.{key} {way}")


def tree_leaves(root: Mapping[str, Any], place: str) -> Criteria:
    """The leaves of a tree of `requirements`, `weight` and `sub_tasks`.

    A leaf weighs the product of weight / (sum of the siblings' weights) along its path, which is
    its share in the weighted mean of means that the tree stands for. Its text names the nodes
    above it but the root.
    """
    return list(_leaves(root, place, 1.0, ()))


def _leaves(
    node: Mapping[str, Any], place: str, share: float, above: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    if len(above) > _DEEPEST:
        raise ValueError(f"{place} is nested more than {_DEEPEST} deep")
    statement = text_in(node, "requirements", "requirement")
    if not statement:
        raise ValueError(f"{place}.requirements is missing: it says what the node asks for")
    if above or place != "row":  # the root may be the row, with its other columns
        refuse_unread(node, _NODE, place)
    children = node.get("sub_tasks") or []
    if not children:
        parents = " › ".join(above[1:])
        description = f"{statement}\nPart of: {parents}" if parents else statement
        yield {"title": statement[:80], "description": description, "weight": share}
        return
    if not isinstance(children, list) or not all(isinstance(each, Mapping) for each in children):
        raise ValueError(f"{place}.sub_tasks must be a list of objects")
    places = [f"{place}.sub_tasks[{at}]" for at in range(len(children))]
    weights = [weight_in(each, at) for each, at in zip(children, places, strict=True)]
    total = sum(weights)
    if total < _LEAST:
        raise ValueError(f"{place}.sub_tasks have no weight above 0")
    for child, at, weight in zip(children, places, weights, strict=True):
        yield from _leaves(child, at, share * weight / total, (*above, statement))


def dimension_criteria(dimensions: Mapping[str, Any], weights: Any, place: str) -> Criteria:
    """Weighted criteria under weighted dimensions: each weighs its share of its dimension."""
    shares = object_in(weights)
    if shares is None or set(shares) != set(dimensions):
        raise ValueError(f"dimension_weight must have one weight for each dimension of {place}")
    criteria: Criteria = []
    for name, listed in dimensions.items():
        share = weight_in({"weight": shares[name]}, f"dimension_weight.{name}")
        if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
            raise ValueError(f"{place}.{name} must be a list of criteria")
        within = [weight_in(each, f"{place}.{name}[{at}]") for at, each in enumerate(listed)]
        if share and sum(within) < _LEAST:
            raise ValueError(f"{place}.{name} has no weight above 0")
        for at, (each, weight) in enumerate(zip(listed, within, strict=True)):
            refuse_unread(each, _WITHIN, f"{place}.{name}[{at}]")
            title = text_in(each, "criterion")
            description = ": ".join(filter(None, (title, text_in(each, "explanation"))))
            if not description:
                raise ValueError(f"{place}.{name} has a criterion without text")
            whole = sum(within) or 1.0
            criteria.append(
                {
                    "title": f"{name}: {title}",
                    "description": description,
                    "weight": share * weight / whole,
                }
            )
    return criteria


def level_criterion(rubric: Mapping[str, Any], place: str) -> dict[str, Any]:
    """One criterion of a rubric whose levels are described, `score1_description` and so on.

    Its text says what full, half and none mean: a level's share of the way from the lowest to the
    highest is what it is worth.
    """
    statement = text_in(rubric, *_LEVELLED)
    found = ((_LEVEL.fullmatch(key), value) for key, value in rubric.items())
    levels = {int(key[1]): value for key, value in found if key and isinstance(value, str)}
    if not statement or len(levels) < 2:
        raise ValueError(f"{place} needs criteria and two levels, score1_description and so on")
    if place != "row":  # the rubric may be the row, with its other columns
        rest = {key: each for key, each in rubric.items() if not _LEVEL.fullmatch(key)}
        refuse_unread(rest, {"id", "score", *_LEVELLED}, place)
    low, high = min(levels), max(levels)
    shares = [((level - low) / (high - low), text) for level, text in sorted(levels.items())]
    return {"title": statement[:80], "description": describe_levels(statement, shares)}


def operator_criterion(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A criterion whose operator says whether its statement must be made, or not contradicted."""
    rest = {key: value for key, value in item.items() if key != "operator"}
    operator = item.get("operator", "correctness")
    if operator == "correctness":
        return rest
    statement = text_in(item, "criteria", "criterion")
    if operator != "contradiction" or not statement:
        told = "must be correctness or contradiction, of a text in criteria"
        raise ValueError(f"{place}.operator {told}, not {operator!r}")
    contradicted = {"description": f"Contradicts this: {statement}", "polarity": "negative"}
    return {key: rest[key] for key in rest if key not in ("criteria", "criterion")} | contradicted


def option_criterion(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A criterion with options, each with its value in [0, 1], as one whose text names them."""
    shares: list[tuple[float, str]] = []
    for at, option in enumerate(item["options"]):
        value = option.get("value") if isinstance(option, Mapping) else None
        label = text_in(option, "label") if isinstance(option, Mapping) else ""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            told = "a label and a value in [0, 1]; one that takes the criterion out of the score"
            raise ValueError(f"{place}.options[{at}] needs {told} is not read: remove it")
        shares.append((float(value), label))
    rest = {key: value for key, value in item.items() if key not in ("options", "scale_type")}
    statement = text_in(item, "requirement", "description")
    title = text_in(item, "name") or statement[:80]
    return {**rest, "name": title, "requirement": describe_levels(statement, sorted(shares))}


def describe_levels(statement: str, shares: Sequence[tuple[float, str]]) -> str:
    names = {1.0: "Full", 0.5: "Half", 0.0: "None"}
    lines = [f"{names.get(share, f'{share:.0%}')}: {text.strip()}" for share, text in shares[::-1]]
    return "\n".join([statement, "How far it is met:", *lines])
