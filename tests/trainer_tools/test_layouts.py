"""What a data set says of a rollout survives every trainer's layout, in every file."""

import io
import json

import pytest
from hypothesis import given, settings
from pyarrow.json import read_json

from citemark_schemas import Knobs, Rollout
from citemark_service.trainers.rows import FIELDS, PromptTemplate, Task, envelope_of, misfit
from citemark_service.trainers.table import LAYOUTS, task_of
from support.made_tasks import ROW, TASKS, json_lines

TEMPLATE = PromptTemplate()
EVERY = pytest.mark.parametrize("trainer", LAYOUTS.values(), ids=LAYOUTS)


def same(one: Task, other: Task) -> bool:
    """Whether two tasks ask for the same thing."""
    prompts = [[dict(message) for message in each.prompt] for each in (one, other)]
    return envelope_of(one.rollout) == envelope_of(other.rollout) and prompts[0] == prompts[1]


def through_json(row):
    return json.loads(json.dumps(row))


def through_arrow(rows):
    """As libraries load JSON lines: every row gets the keys of all others."""
    return read_json(io.BytesIO(json_lines(rows).encode())).to_pylist()


@EVERY
@given(task=TASKS)
@settings(max_examples=40)
def test_a_row_gives_back_its_task_and_is_as_declared(trainer, task):
    row = through_json(trainer.lay(task, 3))
    assert same(task_of(row, trainer, TEMPLATE), task)
    assert same(task_of(row, None, TEMPLATE), task)
    assert misfit(row, trainer.columns, "row") is None
    assert [f for f in trainer.faults(row) if f.severity == "error"] == []


@EVERY
@given(task=TASKS, other=TASKS)
@settings(max_examples=25)
def test_a_row_gives_back_its_task_where_tables_fill_it_up(trainer, task, other):
    rows = through_arrow([trainer.lay(task, 0), trainer.lay(other, 1)])
    assert same(task_of(rows[0], trainer, TEMPLATE), task)
    assert same(task_of(rows[1], None, TEMPLATE), other)


def test_fields_are_those_of_a_rollout_before_the_policy_answers():
    later = {"response", "finish_reason", "run", "step", "metadata"}
    assert set(FIELDS) == set(Rollout.model_fields) - later
    assert set(FIELDS) > set(Knobs.model_fields)


SNIPPETS = {"question": "q", "snippets": [{"id": "A", "text": "said"}]}


@pytest.mark.parametrize(
    ("row", "shown"),
    [(ROW, (ROW["question"], ROW["tool_output"])), (SNIPPETS, ("<snippet id=A>said</snippet>",))],
)
def test_a_row_without_a_prompt_gets_one_with_question_and_sources(row, shown):
    (message,) = task_of(row, None, TEMPLATE).prompt
    assert message["role"] == "user"
    assert all(each in message["content"] for each in shown)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q?", "label": json.dumps(ROW)},
        {"prompt": "q?", "label": [ROW]},
        {"messages": [{"role": "user", "content": "q?"}], "ground_truth": [json.dumps(ROW)]},
        {"prompt": "q?", "reward_model": {"ground_truth": "42"}, "extra_info": ROW},
        {"prompt": "q?", "metadata": ROW},
        {"responses_create_params": {"input": "q?"}, **ROW},
        {"messages": [{"role": "user", "content": "q?", "name": None, "tool_calls": None}], **ROW},
    ],
    ids=["text", "list", "open-instruct", "extra_info", "metadata", "row keys", "empty keys"],
)
def test_an_envelope_is_found_wherever_it_is(row):
    task = task_of(row, None, TEMPLATE)
    assert task.rollout.id == "ferry"
    assert len(task.rollout.criteria) == 3
    assert list(task.prompt) == [{"role": "user", "content": "q?"}]
