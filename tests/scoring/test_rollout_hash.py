"""Which rollouts are the same input: `rollout_hash` tells apart what is judged, and only that."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_service.score.rollout import rollout_hash

SNIPPET = {"id": "S2", "text": "Since May.", "paper_id": "p"}
RUBRIC = {"title": "Year", "description": "Gives 1963", "weight": 2}
GIVEN: dict[str, Any] = {
    "question": "Since when?",
    "tool_output": "<snippet id=S1>Since 1963.</snippet>",
    "snippets": [SNIPPET],
    "response": "<answer>Since 1963.</answer>",
    "finish_reason": "stop",
    "positive_rubrics": [RUBRIC],
}
OTHER: dict[str, list[Any]] = {
    "question": ["Since when not?"],
    "tool_output": ["", None],
    "snippets": [[], None, *([SNIPPET | more] for more in (
        {"id": "S3"}, {"text": "Since June."}, {"paper_id": None}))],
    "response": ["<answer>Since 1964.</answer>"],
    "finish_reason": ["length", None],
    "positive_rubrics": [[], *([RUBRIC | more] for more in (
        {"title": "Date"}, {"description": "Gives 1964"}, {"weight": 3}))],
    "negative_rubrics": [["Speaks of the bridge"]],
}  # fmt: skip
JUDGED = [{}, *({field: value} for field, values in OTHER.items() for value in values)]
UNJUDGED: list[dict[str, Any]] = [
    {"id": "x"},
    {"citation_weight": 0.9, "metadata": {"split": "train"}},
    {"positive_rubrics": [], "rubrics": GIVEN["positive_rubrics"]},
]


def hashed(**changes: Any) -> str:
    return rollout_hash(Rollout(**{**GIVEN, **changes}))


def test_whatever_is_judged_changes_the_hash():
    hashes = [hashed(**changes) for changes in JUDGED]
    assert len(set(hashes)) == len(JUDGED)
    assert {len(each) for each in hashes} == {32}


@pytest.mark.parametrize("changes", UNJUDGED)
def test_nothing_else_changes_it(changes):
    assert hashed(**changes) == hashed()


@given(st.text(min_size=1), st.text(), st.text())
def test_text_cannot_move_over_a_border(question, tool_output, response):
    text = f"q{question}{tool_output}{response}"
    places = itertools.combinations(range(1, len(text)), 2)
    cuts = [(text[:i], text[i:j], text[j:]) for i, j in itertools.islice(places, 50)]
    hashes = [hashed(question=q, tool_output=t, response=r) for q, t, r in cuts]
    assert len(set(hashes)) == len(cuts)


@given(st.text(), st.floats(0, 1e6))
def test_a_rollout_that_travelled_as_json_is_the_same(text, weight):
    rubrics = [{"description": f"r{text}", "weight": -weight}]
    rollout = Rollout(**{**GIVEN, "response": text, "rubrics": rubrics})
    body = rollout.model_dump_json(exclude_unset=True)
    assert rollout_hash(Rollout.model_validate_json(body)) == rollout_hash(rollout)
