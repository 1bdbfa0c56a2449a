"""Bodies to rollouts and outcomes to answers, without a service."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import SIGNALS, Failure, FailureKind, Refusal, RefusalKind, rollout_of
from citemark_service.errors import InvalidRequest
from citemark_service.settings import Settings
from citemark_service.trainers.engine import decode_body
from citemark_service.trainers.route import Outcome
from citemark_service.trainers.table import TRAINERS, served_routes
from support.dialect_bodies import for_openrlhf
from support.scripted_service import scored
from support.step_rollouts import rollout

ROUTES = served_routes(Settings(test_program_route=True))
EVERY = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
OPENRLHF, SLIME, OPEN_INSTRUCT = (
    TRAINERS[name].routes[0] for name in ("openrlhf", "slime", "open-instruct")
)
FAILURE = Failure(kind=FailureKind.TIMEOUT, message="no answer", retryable=True)
REFUSAL = Refusal(kind=RefusalKind.NO_ANSWER, message="no answer block")
OUTCOMES = {
    "judged": Outcome(scored("a", 0.5, rubric_reward=0.5), 0.5),
    "refused": Outcome(scored("a", 0.0, refusal=REFUSAL), 0.0),
    "timeout": Outcome(scored("a").model_copy(update={"reward": None, "failure": FAILURE}), 0.25),
}
PATIENCE = {"openrlhf": 180, "open_instruct": 30, "nemo_gym": 60, "verifiers": 60}
"""Seconds after which a client gives up; 120 where it is not here."""


@EVERY
def test_the_documented_example_is_a_rollout_and_its_answer_json(route):
    (sample,) = route.read(route.request)
    read = rollout_of(sample.places, response=sample.response, prompt=sample.prompt)
    assert read.criteria
    assert json.loads(json.dumps(route.example, allow_nan=False)) == route.example
    for outcome in OUTCOMES.values():
        assert route.example.keys() <= route.write([outcome], route.request).keys()


@EVERY
def test_the_deadline_leaves_the_client_time(route):
    assert 0 < route.deadline_s <= PATIENCE.get(route.name, 120) - 5


def test_openrlhf_posts_one_or_many_or_none():
    rows = [rollout(0, 0), rollout(0, 1)]
    samples = OPENRLHF.read(for_openrlhf(*rows))
    assert [row["response"] in sample.response for row, sample in zip(rows, samples, strict=True)]
    assert all("<|im_start|>" not in sample.response for sample in samples)
    assert [list(sample.places) for sample in samples] == [["labels[0]"], ["labels[1]"]]
    assert OPENRLHF.read({"query": []}) == []
    assert OPENRLHF.read({"query": [], "prompts": [], "labels": []}) == []


def test_openrlhf_sends_texts_instead_of_lists_and_no_labels_too():
    whole = for_openrlhf(rollout(0, 0))
    bare = {"query": whole["query"][0], "prompts": whole["prompts"][0]}
    for body in (bare, {**bare, "labels": None}, {**bare, "labels": []}):
        (sample,) = OPENRLHF.read(body)
        assert sample.places == {"labels[0]": None}
    (sample,) = OPENRLHF.read({**bare, "labels": "a label"})
    assert sample.places == {"labels[0]": "a label"}


WHOLE = for_openrlhf(rollout(0, 0), rollout(0, 1))
BAD = [
    ("query", OPENRLHF, {}),
    ("query", OPENRLHF, {**WHOLE, "query": None}),
    ("query[1]", OPENRLHF, {**WHOLE, "query": ["a", 3]}),
    ("prompts", OPENRLHF, {**WHOLE, "prompts": ["one"]}),
    ("prompts", OPENRLHF, {"query": ["a"]}),
    ("labels", OPENRLHF, {**WHOLE, "labels": ["one"]}),
    ("query[0]", OPENRLHF, {**WHOLE, "query": ["no prompt in it", "nor in this"]}),
    ("response", SLIME, {"prompt": "q", "label": "{}"}),
    ("response", SLIME, {"response": ["r"]}),
    ("program", OPEN_INSTRUCT, {"tests": "{}"}),
]


@pytest.mark.parametrize(("loc", "route", "body"), BAD)
def test_a_body_of_another_shape_is_named(loc, route, body):
    with pytest.raises(InvalidRequest) as caught:
        route.read(body)
    assert [detail.loc for detail in caught.value.details] == [loc]


def test_openrlhf_gets_lists_of_floats_under_constant_keys():
    answer = OPENRLHF.write(list(OUTCOMES.values()), {})
    assert answer["rewards"] == answer["scores"] == [0.5, 0.0, 0.25]
    assert tuple(answer["extra_logs"]) == SIGNALS
    assert answer["extra_logs"]["judge_failed"] == [0.0, 0.0, 1.0]
    lists = [answer["rewards"], *answer["extra_logs"].values()]
    assert all(len(values) == 3 and set(map(type, values)) == {float} for values in lists)
    empty = OPENRLHF.write([], {})
    assert (empty["rewards"], set(map(len, empty["extra_logs"].values()))) == ([], {0})


def test_slime_gets_one_flat_object():
    endings = ("judged", "no_answer_block", "judge_timeout")
    for outcome, ending in zip(OUTCOMES.values(), endings, strict=True):
        answer = SLIME.write([outcome], {})
        assert list(answer) == ["reward", *SIGNALS, "outcome"]
        assert all(type(answer[key]) is float for key in ("reward", *SIGNALS))
        assert answer["outcome"] == ending


def test_open_instruct_gets_a_result_where_it_is_turned_on():
    answer = OPEN_INSTRUCT.write([OUTCOMES["judged"]], {})
    assert answer == {"results": [0.5], "runtimes": [0.0]}
    assert OPEN_INSTRUCT not in served_routes(Settings())
    assert OPEN_INSTRUCT in ROUTES


_VALUES = st.recursive(
    st.none() | st.text(max_size=5) | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
_NAMES = "query prompts labels response prompt label program history messages remote_env_info"
BODIES = st.dictionaries(
    st.sampled_from([*_NAMES.split(), "responses_create_params", "tests", "ground_truth"]), _VALUES
)


@given(body=BODIES, route=st.sampled_from(ROUTES))
def test_any_body_is_samples_or_an_error_that_names_the_place(body, route):
    told: list[str]
    try:
        told = [type(sample.response).__name__ for sample in route.read(body)]
        assert set(told) <= {"str"}
    except InvalidRequest as error:
        told = [detail.loc for detail in error.details] or [""]
    assert all(told)


@given(
    rewards=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    ends=st.lists(st.sampled_from(list(OUTCOMES)), min_size=4, max_size=4),
)
def test_what_is_written_is_json_of_finite_floats(rewards, ends):
    outcomes = [
        Outcome(OUTCOMES[end].result, reward) for reward, end in zip(rewards, ends, strict=False)
    ]
    read = json.loads(json.dumps(OPENRLHF.write(outcomes, {}), allow_nan=False))
    assert read["rewards"] == rewards
    numbers = [value for values in read["extra_logs"].values() for value in values]
    assert all(type(number) is float and math.isfinite(number) for number in numbers)


@given(st.binary(max_size=60) | BODIES.map(lambda body: json.dumps(body).encode()))
def test_bytes_are_an_object_or_refused(raw):
    told: object
    try:
        told = decode_body(raw)
    except InvalidRequest as error:
        told = {detail.loc: detail.message for detail in error.details}.get("body")
    assert told is not None


def test_an_empty_cell_that_python_wrote_is_read():
    assert decode_body(b'{"label": {"step": NaN}}') == {"label": {"step": None}}
    read = decode_body(b'{"response": "\\ud800 \\ud83d\\ude00"}')
    assert read == {"response": "\ufffd \U0001f600"}


@pytest.mark.parametrize(
    "raw", [b"[" * 200_000, b'{"a":' * 200_000, b'{"a":NaN,"b":' + b"[" * 99_999]
)
def test_a_body_without_end_is_refused(raw):
    with pytest.raises(InvalidRequest):
        decode_body(raw)
