"""Cutting rollouts into batches: nothing lost, nothing reordered, both bounds kept."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo import Refused
from citemark_grpo.batches import Parcel, cut, pack
from citemark_schemas import Rollout

ROLLOUT = {"question": "q", "tool_output": "", "response": "r"}

sizes = st.lists(st.integers(0, 50), max_size=40)


@given(sizes, st.integers(1, 7), st.integers(1, 60))
def test_batches_partition_the_parcels_within_bounds(
    sizes: list[int], max_items: int, max_bytes: int
) -> None:
    ready = [Parcel(str(i), b"x" * size) for i, size in enumerate(sizes)]
    batches = list(cut(ready, max_items=max_items, max_bytes=max_bytes))
    assert [parcel for batch in batches for parcel in batch.parcels] == ready
    for batch in batches:
        assert ready[batch.start] is batch.parcels[0]
        assert len(batch.parcels) <= max_items
        weight = sum(len(parcel.body) for parcel in batch.parcels)
        assert weight <= max_bytes or len(batch.parcels) == 1


def test_a_rollout_without_an_id_gets_its_index_in_the_whole_sequence() -> None:
    ready = pack([{**ROLLOUT, "id": "first"}, ROLLOUT, Rollout(**ROLLOUT)])
    assert [parcel.id for parcel in ready] == ["first", "1", "2"]
    assert [json.loads(parcel.body)["id"] for parcel in ready] == ["first", "1", "2"]


def test_only_what_was_given_travels_and_the_callers_columns_stay_at_home() -> None:
    (parcel,) = pack([{**ROLLOUT, "citation_weight": 0.5, "metadata": {"secret": 1}}])
    assert json.loads(parcel.body) == {**ROLLOUT, "citation_weight": 0.5, "id": "0"}


def test_rubrics_survive_the_journey() -> None:
    row = {
        **ROLLOUT,
        "positive_rubrics": ["Names the year", {"rubric_item": "Names the place", "weight": 2}],
        "rubrics": [{"Ingredient": "Rambles", "weight": -3}],
    }
    (parcel,) = pack([row])
    assert Rollout.model_validate_json(parcel.body).criteria == Rollout(**row).criteria


def test_an_invalid_rollout_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Refused) as refused:
        pack([ROLLOUT, {**ROLLOUT, "positive_rubrics": [{"weight": 1}]}])
    (detail,) = refused.value.problem.details
    assert detail.loc == "items[1].positive_rubrics[0]"
    assert refused.value.status is None


def test_a_lone_surrogate_cannot_travel() -> None:
    with pytest.raises(Refused, match=r"items\[0\]"):
        pack([{**ROLLOUT, "response": "\ud800"}])
