"""Cutting rollouts into batches: nothing lost, nothing reordered, both bounds kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.batches import Parcel, cut, pack
from citemark_schemas import Rollout

ROLLOUT = {"question": "q", "tool_output": "", "response": "r"}


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7), st.integers(1, 60))
def test_batches_partition_the_parcels_within_bounds(sizes, max_items, max_bytes):
    ready = [Parcel(i, str(i), b"x" * size) for i, size in enumerate(sizes)]
    batches = list(cut(ready, max_items=max_items, max_bytes=max_bytes))
    assert [parcel for batch in batches for parcel in batch] == ready
    for batch in batches:
        assert len(batch) <= max_items
        weight = sum(len(parcel.body) for parcel in batch)
        assert weight <= max_bytes or len(batch) == 1


def test_a_rollout_without_an_id_gets_its_index_in_the_whole_sequence():
    ready, _ = pack([{**ROLLOUT, "id": "first"}, ROLLOUT, Rollout(**ROLLOUT)])
    assert [parcel.id for parcel in ready] == ["first", "1", "2"]
    assert [json.loads(parcel.body)["id"] for parcel in ready] == ["first", "1", "2"]


def test_only_what_was_given_travels_and_the_callers_columns_stay_at_home():
    ((parcel,), _) = pack([{**ROLLOUT, "citation_weight": 0.5, "metadata": {"secret": 1}}])
    assert json.loads(parcel.body) == {**ROLLOUT, "citation_weight": 0.5, "id": "0"}


def test_rubrics_survive_the_journey():
    positive = ["Names the year", {"rubric_item": "Names the place", "weight": 2}]
    mixed = [{"Ingredient": "Rambles", "weight": -3}]
    row = {**ROLLOUT, "positive_rubrics": positive, "rubrics": mixed}
    ((parcel,), _) = pack([row])
    assert Rollout.model_validate_json(parcel.body).criteria == Rollout(**row).criteria


@pytest.mark.parametrize(
    ("wrong", "loc"),
    [
        ({"positive_rubrics": [{"weight": 1}]}, "items[1].positive_rubrics[0]"),
        ({"response": "\ud800"}, "items[1]"),
    ],
)
def test_what_cannot_travel_is_named_and_left_out(wrong, loc):
    ready, problems = pack([ROLLOUT, {**ROLLOUT, **wrong}, ROLLOUT])
    assert [parcel.place for parcel in ready] == [0, 2]
    assert [detail.loc for detail in problems] == [loc]
