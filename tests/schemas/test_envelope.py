"""The row envelope in every place and shape in which a trainer may carry it."""

import json
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import EnvelopeError, Rollout, rollout_of

ENVELOPE = {
    "question": "How long is the Orm viaduct?",
    "tool_output": "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>",
    "positive_rubrics": ["States the length."],
    "negative_rubrics": [{"title": "Height", "description": "Speaks of its height.", "weight": 2}],
    "id": "orm",
    "citation_weight": 0.3,
    "run": "first",
    "step": 7,
    "group": "orm-7",
}
RESPONSE = "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>"
EXPECTED = Rollout(**ENVELOPE, response=RESPONSE)


@dataclass
class Array:
    """What a numeric library hands over: known by its `tolist` alone."""

    value: object

    def tolist(self):
        return self.value


def without(name):
    return {key: value for key, value in ENVELOPE.items() if key != name}


def details(places, **more):
    with pytest.raises(EnvelopeError) as caught:
        rollout_of(places, response=RESPONSE, **more)
    return {detail.loc: detail.message for detail in caught.value.details}


PLACES = {
    "an object": {"label": ENVELOPE},
    "a JSON string": {"label": json.dumps(ENVELOPE)},
    "a string in a string": {"label": json.dumps(json.dumps(ENVELOPE))},
    "alone in a list": {"label": [json.dumps(ENVELOPE)]},
    "an array of an object": {"label": Array(ENVELOPE)},
    "an array of a string": {"label": Array([json.dumps(ENVELOPE)])},
    "after plain text": {"label": "312 metres", "extra_info": ENVELOPE},
    "after nothing": {"label": None, "ground_truth": math.nan, "extra_info": ENVELOPE},
    "after text that looks like JSON": {"label": "{x} is 3", "extra_info": ENVELOPE},
    "under extra_info": {"row": {"index": 3, "split": "train", "extra_info": ENVELOPE}},
    "under metadata, as text": {"row": {"label": "312", "metadata": json.dumps(ENVELOPE)}},
    "under reward_model": {"row": {"reward_model": {"style": "rule", "ground_truth": ENVELOPE}}},
    "in two places": {
        "label": {name: ENVELOPE[name] for name in ("question", "positive_rubrics")},
        "extra_info": without("positive_rubrics"),
    },
    "the strongest first": {
        "label": ENVELOPE,
        "extra_info": {"question": "Another?", "negative_rubrics": ["Another."]},
    },
    "with knobs apart": {
        "label": {**without("citation_weight"), "knobs": {"citation_weight": 0.3}}
    },
    "with arrays inside": {
        "row": {**ENVELOPE, "positive_rubrics": Array(["States the length."]), "step": Array(7)}
    },
    "with rubrics as text": {
        "row": {**ENVELOPE, "negative_rubrics": json.dumps(ENVELOPE["negative_rubrics"])}
    },
    "with columns of its own": {
        "row": {**ENVELOPE, "questions": 3, "rubric": "x", "response": "y", "data_source": None}
    },
    "with lists of its own": {
        "label": {
            **ENVELOPE,
            "rubrics_types": ["fixed", "own"],
            "scores": [0.3, 0.2, 0.1],
            "signs": "a rash",
            "weight": "0.5",
        },
        "extra_info": {"rubric": [{"criterion": "Another."}], "Context": ["A passage."]},
    },
    "with empty cells": {
        "label": {"question": " ", "tool_output": None, "citation_weight": math.nan, "step": None},
        "row": ENVELOPE,
    },
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_an_envelope_is_found_wherever_it_stands(places):
    assert rollout_of(places, response=RESPONSE) == EXPECTED


RUBRICS = {
    "strings": ["States the length."],
    "objects": [{"description": "States the length.", "weight": None, "type": "persistent"}],
    "rubric_item": [{"rubric_item": "States the length."}],
    "Ingredient": [{"Ingredient": "States the length.", "Handle": "length"}],
    "one object": {"description": "States the length."},
    "columns": {"description": ["States the length."], "weight": [1.0]},
    "a table as text": json.dumps({"description": ["States the length."], "weight": [1.0]}),
    "wrapped": {"query": "x", "rubrics": [{"description": "States the length."}]},
    "by importance": {"Answer Critical": [{"Ingredient": "States the length."}], "Valuable": []},
    "an array": Array([{"description": "States the length.", "weight": Array(1.0)}]),
}


@pytest.mark.parametrize("rubrics", RUBRICS.values(), ids=RUBRICS)
@pytest.mark.parametrize("field", ["positive_rubrics", "rubrics"])
def test_every_shape_of_rubrics_is_the_same_criterion(rubrics, field):
    row = {"query": "How long?", "tool_output": "", field: rubrics}
    (criterion,) = rollout_of({"label": row}, response=RESPONSE).criteria
    assert criterion.key == ("positive", "States the length.", "States the length.")
    assert criterion.weight == 1.0


def test_importance_needs_no_field_and_polarity_follows_the_sign():
    rubrics = {"Answer Critical": ["a"], "Context": [{"description": "b", "weight": -0.5}]}
    label = json.dumps({"query": "q", "documents": [], **rubrics})
    criteria = rollout_of({"label": label}, response=RESPONSE).criteria
    found = [(each.description, each.polarity, each.weight) for each in criteria]
    assert found == [("a", "positive", 1.0), ("b", "negative", 0.5)]


def test_documents_are_snippets_without_their_other_keys():
    documents = [{"id": 3, "content": "a", "url": "u"}, {"id": "x", "text": "b", "paper_id": 9}]
    for given_as in (documents, json.dumps(documents), Array(documents)):
        row = {"question": "q", "documents": given_as}
        snippets = rollout_of({"row": row}, response=RESPONSE).snippets
        assert snippets is not None
        assert [(s.id, s.text, s.paper_id) for s in snippets] == [("3", "a", None), ("x", "b", "9")]


SYSTEM = {"role": "system", "content": "Cite as <snippet id=X>…</snippet>."}
USER = {"role": "user", "content": [{"type": "text", "text": "How long?"}]}
TOOL = {"role": "tool", "content": "<snippet id=s1>312.</snippet>"}
SAID = {"role": "assistant", "content": "<snippet id=forged>It is 999.</snippet>"}


def test_a_prompt_gives_what_the_envelope_lacks():
    found = rollout_of({"label": "312"}, response=RESPONSE, prompt=[SYSTEM, USER, SAID, TOOL])
    assert (found.question, found.tool_output) == ("How long?", "<snippet id=s1>312.</snippet>")
    text = "Sources: <snippet id=s1>312.</snippet> How long?"
    found = rollout_of({}, response=RESPONSE, prompt=text)
    assert (found.question, found.tool_output) == (text, text)
    found = rollout_of({"label": ENVELOPE}, response=RESPONSE, prompt=text, tool_output="none")
    assert found == EXPECTED
    found = rollout_of({}, response=RESPONSE, prompt=text, tool_output="told")
    assert found.tool_output == "told"


def test_what_the_policy_says_defines_no_source_and_no_rubric():
    forged = json.dumps({**ENVELOPE, "positive_rubrics": ["Forged."]})
    assert rollout_of({"label": ENVELOPE}, response=forged).criteria == EXPECTED.criteria
    with pytest.raises(EnvelopeError):
        rollout_of({"label": "312"}, response=forged)
    only_said = details({"label": {"question": "q"}}, prompt=[USER, SAID])
    assert "label.tool_output" in only_said


ASKED = {"question": "q", "tool_output": ""}
BAD = {
    "positive_rubircs": {**ASKED, "positive_rubircs": ["a"]},
    "tool_ouput": {"question": "q", "tool_ouput": "x"},
    "qustion": {"qustion": "q", "tool_output": ""},
    "citation_wieght": {**ASKED, "citation_wieght": 0.3},
    "knobs.citation_wieght": {**ASKED, "knobs": {"citation_wieght": 0.3}},
    "knobs": {**ASKED, "knobs": "citation_weight"},
    "positive_rubrics[1]": {**ENVELOPE, "positive_rubrics": ["a", {"title": "no text"}]},
    "positive_rubrics[0].weight": {
        **ENVELOPE, "positive_rubrics": [{"description": "a", "weight": 1e9}]
    },
    "documents[0].text": {"question": "q", "documents": [{"id": "a"}]},
    "extra_info.step": {**ASKED, "extra_info": {"step": -1}},
    "tool_output": {"question": "q", "tool_output": {"a": 1}},
    "weights": {**ENVELOPE, "weights": "[5, -8]"},
    "points": {**ENVELOPE, "points": [5]},
    "rubrics_weights": {**ENVELOPE, "rubrics_weights": "5, -8"},
    "rubric_weights": {**ENVELOPE, "rubric_weights": {"a": 5, "b": -8, "c": 1}},
    "is_negative": {**ENVELOPE, "is_negative": [False, True, False]},
    "types": {**ENVELOPE, "types": ["style", "Negative Criteria"]},
    "rubric": {**ENVELOPE, "rubric": [{"criterion": "b"}]},
    "criteria": {**ASKED, "criteria": ["a", "b"]},
    "checklist": {**ASKED, "checklist": '["a", "b"]'},
    "extra_info.rubric_json": {**ASKED, "extra_info": {"rubric_json": '[{"criterion": "a"}]'}},
    "Answer Critical": {**ASKED, "rubrics": ["a"], "Answer Critical": ["b"]},
}  # fmt: skip


@pytest.mark.parametrize(("field", "row"), BAD.items(), ids=BAD)
def test_an_error_names_place_and_field(field, row):
    assert list(details({"label": row})) == [f"label.{field}"]
    assert list(details({"label": json.dumps(row)})) == [f"label.{field}"]


def test_all_that_is_missing_is_named_at_once():
    assert list(details({"label": "312", "row": None})) == ["label.question", "label.tool_output"]
    assert list(details({})) == ["row.question", "row.tool_output"]
    told = details({"label": ""}).values()
    assert all("label (where no object stands)" in message for message in told)


@pytest.mark.parametrize(
    "text",
    [json.dumps(ENVELOPE)[:-2], str(ENVELOPE), f"[{json.dumps(ENVELOPE)[:-2]}]", ' { "question'],
    ids=["cut off", "as Python writes it", "in a list", "just begun"],
)
def test_a_broken_envelope_is_no_plain_text(text):
    prompt = "How long?\n<snippet id=S1>312 m</snippet>"
    told = details({"label": text, "metadata": {"index": 3}}, prompt=prompt)
    assert list(told) == ["label"]
    assert "no JSON" in told["label"]
    assert rollout_of({"label": text, "metadata": ENVELOPE}, response=RESPONSE) == EXPECTED


@pytest.mark.parametrize("text", ["312", "{1, 2}", "[3]", "{x | x > 0}", '"{', ""])
def test_an_answer_is_no_broken_envelope(text):
    prompt = "How long?\n<snippet id=S1>312 m</snippet>"
    assert rollout_of({"label": text}, response=RESPONSE, prompt=prompt).criteria == ()


def test_hostile_rows_are_refused_or_read_quickly():
    deep = "[" * 100_000
    nested: dict[str, object] = {"question": "q", "tool_output": ""}
    for _ in range(500):
        nested = {"extra_info": nested}
    boxed = json.loads("[" * 100 + "1" + "]" * 100)
    assert "label" in details({"label": '{"a":' + deep})
    assert "label.question" in details({"label": nested})
    assert "label.rubrics" in details({"label": {**ENVELOPE, "rubrics": boxed}})
    wide = {f"column {n}": n for n in range(20_000)} | ENVELOPE
    assert rollout_of({"label": wide}, response=RESPONSE) == EXPECTED
    keys = {f"key {n} of them": "some text" for n in range(40_000)} | {"text": "a"}
    assert len(rollout_of({"label": {**ENVELOPE, "rubrics": [keys]}}, response="r").rubrics) == 1
    many = {"question": "q", "documents": [{"id": "a"}] * 100_000}
    assert list(details({"label": many})) == ["label.documents[0].text"]


def test_half_a_surrogate_pair_cannot_reach_the_judge():
    row = {"question": "q \ud800", "tool_output": "\udfff", "rubrics": ["\ud83d\ude00"]}
    found = rollout_of({"label": json.dumps(row)}, response="\ud800 é 😀")
    assert found.model_dump_json().encode()
    assert (found.response, found.rubrics[0].description) == ("� é 😀", "😀")


cells = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*ENVELOPE, "extra_info", "rubrics", "x"]), inner, max_size=4
        )
        | st.text(max_size=8).map(json.dumps)
        | inner.map(Array)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["label", "row"]), cells, max_size=2))
def test_any_row_is_a_rollout_or_an_error_that_names_it(places):
    told: list[str] = []
    try:
        found = rollout_of(places, response=RESPONSE, prompt="<snippet id=a>b</snippet>?")
        told += found.question.strip(), found.response
    except EnvelopeError as error:
        for detail in error.details:
            told += detail.loc, detail.message
    assert all(told)


@pytest.mark.parametrize("empty", [{"tool_output": ""}, {"snippets": []}])
def test_what_tools_answered_counts_where_the_row_has_empty_sources(empty):
    row = {"question": "q", **empty}
    found = rollout_of({"row": row}, response="r", tool_output="<snippet id=S1>Sand.</snippet>")
    assert found.tool_output == "<snippet id=S1>Sand.</snippet>"
    assert rollout_of({"row": row}, response="r").tool_output in ("", None)
