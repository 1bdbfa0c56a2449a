"""Items of the Responses API as text, and Gym's statistics; without a server."""

import json
import math
import statistics
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas.bulk import Bulky
from citemark_service.trainers.gym import aggregate_rows, finish_reason, tool_answers
from support.gym_rows import answered, called

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
_ITEM = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["function_call_output", "function_call", "message"]) | _JSON,
        "role": st.sampled_from(["assistant", "tool"]) | _JSON,
        "call_id": _JSON,
        "name": _JSON,
        "output": _JSON,
        "content": _JSON,
    },
)


@pytest.mark.parametrize("output", ["[1] a list? no", '{"plain": "json"}', '"open', "[" * 50_000])
def test_what_is_no_wrapping_stays_as_it_is(output):
    assert tool_answers([answered(output)]) == output


def test_answers_stand_in_order_and_custom_tools_count():
    custom = {"type": "custom_tool_call_output", "call_id": "c2", "output": "second"}
    assert tool_answers([answered("first"), custom]) == "first\nsecond"


def test_no_answer_is_told_from_an_empty_one():
    assert tool_answers([called("search", "c1")]) is None
    assert tool_answers([answered("")]) == ""


@settings(max_examples=50)
@given(st.lists(_ITEM, max_size=5))
def test_any_items_are_read(items):
    told = tool_answers(items)
    assert told is None or isinstance(told, str)


@given(st.dictionaries(st.sampled_from(["status", "incomplete_details", "x"]), _JSON))
def test_any_ending_is_a_text(response):
    assert isinstance(finish_reason(response), str)


def test_hostile_items_take_linear_time():
    deep = "[" * 200_000 + "]" * 200_000
    wide = json.dumps([["<"] * 10] * 20_000)
    items = [called("x" * 1000, str(n)) for n in range(20_000)]
    start = time.process_time()
    for output in (deep, wide, "{" * 1_000_000):
        with suppress(Bulky):  # what no data set holds is refused before it is decoded
            tool_answers([*items, answered(output)])
    assert time.process_time() - start < 5.0


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_statistics_are_those_of_the_library(values):
    found = aggregate_rows([{"reward": value} for value in values])["agent_metrics"]
    assert found["mean/reward"] == pytest.approx(statistics.fmean(values), abs=1e-6)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    assert found["std/reward"] == pytest.approx(spread, rel=1e-6, abs=1e-4)
    assert found["min/reward"] <= found["median/reward"] <= found["max/reward"]


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=3), _JSON, max_size=3), max_size=4))
def test_any_rows_come_to_finite_numbers(rows):
    found = aggregate_rows(rows)
    for table in (found["agent_metrics"], found["key_metrics"], *found["group_level_metrics"]):
        assert all(math.isfinite(value) for value in table.values())


def test_usage_and_flags_are_numbers_too():
    rows = [{"correct": flag, "response": {"usage": {"tokens": 2}}} for flag in (True, False)]
    assert aggregate_rows(rows)["key_metrics"] == {"mean/correct": 0.5, "mean/tokens": 2.0}
