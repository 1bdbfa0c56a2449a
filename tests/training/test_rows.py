"""Rows of every shape, the prompts made of them, and what is left; the hub is not tried here."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.errors import RowsUnusable
from citemark_grpo.training.plan import RowRules
from citemark_grpo.training.rows import (
    NO_ROLLOUT,
    NO_RUBRICS,
    PROMPT_TOO_LONG,
    ROW_TOO_LONG,
    PreparedRows,
    RefinerPrompt,
    RowPreparer,
    read_rows,
)
from citemark_schemas import Knobs, Rollout

SOURCE = "<snippet id=s1>The mill closed in 1911.</snippet>"
ROW = {"question": "When did the mill close?", "tool_output": SOURCE}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": f"When did the mill close?\n{SOURCE}"},
]
IN_PARTS = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in TALK]
ANSWERED = [*TALK, {"role": "assistant", "content": "<answer>1911</answer>"}]


def count(prompt):
    return sum(len(turn["content"].split()) for turn in prompt)


def prepared(*rows, prompt_tokens=1000, tokens=2000, template=None, own=False) -> PreparedRows:
    rules = RowRules("rows", "train", prompt_tokens, 10, tokens, template)
    knobs = Knobs(verification_reward=10.0, instance_rubrics_only=own)
    return RowPreparer(rules, count=count, knobs=knobs).prepare(rows)


def rollout_in(result: PreparedRows, index: int = 0) -> Rollout:
    return Rollout.model_validate_json(result.rows[index].rollout)


def test_a_row_becomes_a_prompt_and_a_rollout_that_lacks_its_answer():
    more = {"id": "mill", "reasoning": "See the gazette.", "negative_rubrics": ["Pads"]}
    result = prepared(ROW | more)
    (row,) = result.rows
    assert "See the gazette." in row.prompt[0]["content"]
    assert SOURCE in row.prompt[0]["content"]
    rollout = rollout_in(result)
    assert (rollout.question, rollout.tool_output, rollout.response) == (*ROW.values(), "")
    assert (rollout.id, rollout.group) == (None, "mill")
    assert [criterion.title for criterion in rollout.criteria] == ["Pads"]


def test_rows_that_nothing_could_judge_are_dropped_and_those_with_the_static_set_counted():
    rows = (ROW | {"rubrics": ["Names the year"]}, ROW, ROW)
    both, own = prepared(*rows), prepared(*rows, own=True)
    assert (len(both.rows), both.static_only) == (3, 2)
    assert (len(own.rows), own.static_only) == (1, 0)
    assert own.dropped == {NO_RUBRICS: 2}
    assert own.examples == {NO_RUBRICS: "row 1"}


@pytest.mark.parametrize("name", ["messages", "prompt"])
@pytest.mark.parametrize("talk", [TALK, json.dumps(TALK), IN_PARTS, ANSWERED])
def test_a_conversation_is_asked_as_it_stands_but_for_its_answer(name, talk):
    result = prepared({name: talk, "rubrics": ["Names the year"]})
    assert list(result.rows[0].prompt) == TALK
    rollout = rollout_in(result)
    assert rollout.question == TALK[-1]["content"]
    assert rollout.tool_output is not None
    assert "1911</answer>" not in result.rows[0].rollout


def test_snippets_are_written_out_for_the_policy():
    result = prepared({"question": "q", "snippets": [{"id": "s1", "text": "The mill."}]})
    assert "<snippet id=s1>The mill.</snippet>" in result.rows[0].prompt[0]["content"]


def test_over_long_rows_are_dropped_whole_and_counted():
    short = count(prepared(ROW).rows[0].prompt)
    long_row = ROW | {"tool_output": SOURCE + " word" * 50}
    result = prepared(ROW, long_row, long_row, prompt_tokens=short)
    assert result.dropped == {PROMPT_TOO_LONG: 2}
    assert result.examples[PROMPT_TOO_LONG].startswith("row 1: ")
    assert SOURCE in result.rows[0].prompt[0]["content"]
    assert prepared(ROW, long_row, tokens=short + 10).dropped == {ROW_TOO_LONG: 1}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"tool_output": SOURCE}, "question"),
        ({"question": "q"}, "tool_output"),
        ({**ROW, "positive_rubrics": [{"weight": 1}]}, "positive_rubrics"),
        ({**ROW, "positive_rubrics": "[{"}, "JSON"),
    ],
)
def test_a_row_of_which_nothing_can_be_made_is_dropped_with_the_reason(row, why):
    result = prepared(ROW, row)
    assert result.dropped == {NO_ROLLOUT: 1}
    assert result.examples[NO_ROLLOUT].startswith("row 1: ")
    assert why in result.examples[NO_ROLLOUT]


def test_a_data_set_without_a_usable_row_is_refused():
    with pytest.raises(RowsUnusable, match="2 no rollout"):
        prepared({}, {"question": " "})
    with pytest.raises(RowsUnusable, match="empty"):
        prepared()


def test_a_row_overrides_no_flag_of_the_run_but_keeps_its_other_knobs():
    rollout = rollout_in(prepared(ROW | {"verification_reward": 3.0, "no_claims_score": 0.5}))
    assert "verification_reward" not in rollout.model_fields_set
    assert rollout.no_claims_score == 0.5


@given(st.lists(st.sampled_from(["a", "b", None, "row 1"]), min_size=1, max_size=12))
def test_no_two_rows_share_a_group(names):
    result = prepared(*({**ROW, "id": name} for name in names))
    groups = [rollout_in(result, index).group for index in range(len(names))]
    assert len(set(groups)) == len(groups)


def test_lines_are_read_one_by_one_and_blank_ones_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"rubrics": ["a"]}\n\n{"rubrics": "[]", "more": {"x": 1}}\n')
    rows = [{"rubrics": ["a"]}, {"rubrics": "[]", "more": {"x": 1}}]
    assert list(read_rows(str(path), "train")) == rows


@pytest.mark.train
def test_parquet_gives_the_same_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"id": str(n), "rubrics": [{"description": "d", "weight": 1.0}]} for n in range(600)]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert list(read_rows(str(path), "train")) == rows


@pytest.mark.train
@pytest.mark.filterwarnings("default")
def test_a_data_set_is_read_by_its_name_and_split(tmp_path):
    (tmp_path / "test.jsonl").write_text('{"question": "q", "rubrics": "[]"}\n')
    assert list(read_rows(str(tmp_path), "test")) == [{"question": "q", "rubrics": "[]"}]


@pytest.mark.parametrize(
    ("text", "dataset", "told"),
    [
        *((f"{{}}\n{line}\n", "train.jsonl", "line 2") for line in ("{", "[1]", "3", "[" * 10**5)),
        *(("", name, name) for name in ("none.jsonl", "none.parquet")),
        pytest.param("", "nothing", "cannot be loaded", marks=pytest.mark.train),
        pytest.param("{broken\n", "", "JSON parse error", marks=pytest.mark.train),
        pytest.param('{"q": "q"}\n', "", "cannot be loaded", marks=pytest.mark.train),
    ],
)
@pytest.mark.filterwarnings("default")
def test_why_rows_cannot_be_read_is_told(tmp_path, text, dataset, told):
    (tmp_path / "train.jsonl").write_text(text)
    split = "train" if "JSON" in told else "no_such_split"
    with pytest.raises(RowsUnusable, match=told):
        list(read_rows(str(tmp_path / dataset), split))


PARTS = {"question": "Why {{ salt }}?", "tool_output": "<snippet id=a>{% x %} &amp;</snippet>"}


def test_the_prompt_shows_everything_raw_and_asks_for_the_format():
    prompt = RefinerPrompt.load()
    (message,) = prompt.render(**PARTS, reasoning="Look at <b>.")
    assert message["role"] == "user"
    for part in (*PARTS.values(), "Reasoning", "Look at <b>.", "<answer>", "<snippet id=ID1,ID2>"):
        assert part in message["content"]
    assert "Reasoning" not in prompt.render(**PARTS)[0]["content"]


def test_a_template_of_ones_own_takes_its_place_for_conversations_too(tmp_path):
    (path := tmp_path / "own.j2").write_text("{{ question }} | {{ tool_output }} | {{ reasoning }}")
    for row in (ROW, {"messages": TALK, **ROW}):
        result = prepared({**row, "reasoning": "r"}, template=str(path))
        assert result.rows[0].prompt[0]["content"] == " | ".join([*ROW.values(), "r"])
        assert result.prompt_version != prepared(ROW).prompt_version


@pytest.mark.parametrize("text", [None, "{{ question", "{% for %}", "{{ documents }}"])
def test_a_template_that_cannot_be_read_or_rendered_is_refused(tmp_path, text):
    path = tmp_path / "bad.j2"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RowsUnusable, match="template" if text else "cannot be read"):
        prepared(ROW, template=str(path))
