"""Bodies of all trainers' routes, well-formed or not, and the numbers in the answers."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import SIGNALS, Problem, rollout_of
from citemark_service.errors import InvalidRequest
from citemark_service.json_bodies import decode_object
from citemark_service.settings import Settings
from citemark_service.trainers.table import served_routes
from support.dialect_bodies import for_openrlhf, for_slime
from support.gym_rows import verify_body
from support.running_service import Running
from support.step_rollouts import rollout

ROUTES = served_routes(Settings(test_program_route=True))
EVERY = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
PATIENCE = {"openrlhf": 180, "open_instruct": 30, "nemo_gym": 60, "verifiers": 60}
"""Seconds after which a client gives up; 120 where it is not here."""
ROW = {**rollout(0, 0), "response": rollout(0, 0)["response"].replace("b,a", "b")}
VERIFY = verify_body(ROW)
OPENRLHF = for_openrlhf(ROW, rollout(0, 1))
FLOOD = {"query": ["a"] * 20_000, "prompts": ["a"] * 20_000, "labels": [None] * 20_000}


@EVERY
def test_the_documented_example_is_a_rollout_and_its_answer_json(route):
    (sample,) = route.read(route.request)
    read = rollout_of(sample.places, response=sample.response, prompt=sample.prompt)
    assert read.criteria
    assert json.loads(json.dumps(route.example, allow_nan=False)) == route.example


@EVERY
def test_the_deadline_leaves_the_client_time(route):
    assert 0 < route.deadline_s <= PATIENCE.get(route.name, 120) - 5


@pytest.mark.parametrize(
    ("path", "body_of", "ends"),
    [
        ("/verify", verify_body, [None, None, "judge_failed"]),
        ("/rm", for_slime, ["judged", "no_answer_block", "judge_unreachable"]),
        ("/get_reward", for_openrlhf, [None] * 3),
    ],
)
def test_numbers_are_floats_under_the_same_keys_whatever_happens(
    gated: Running, path, body_of, ends
):
    rows = [ROW, {**ROW, "response": "no answer block"}, {**ROW, "question": "fail"}]
    answers = [json.loads(gated.post(body_of(row), path).content) for row in rows]
    numbers = [
        {"reward": answer["rewards"][0], **{k: v for k, (v,) in answer["extra_logs"].items()}}
        if path == "/get_reward"
        else {name: answer[name] for name in ("reward", *SIGNALS)}
        for answer in answers
    ]
    for each in numbers:
        assert list(each) == ["reward", *SIGNALS]
        assert {type(number) for number in each.values()} == {float}
    assert [each["judge_failed"] for each in numbers] == [0.0, 0.0, 1.0]
    assert [each["refused"] for each in numbers] == [0.0, 1.0, 0.0]
    assert [each.get("outcome", each.get("failure_kind")) for each in answers] == ends


@pytest.mark.parametrize("body", [{"query": []}, {"query": [], "prompts": [], "labels": []}])
def test_an_empty_shard_is_answered_under_the_same_keys(gated: Running, body):
    empty = gated.post(body, "/get_reward").json()
    assert (empty["rewards"], empty["scores"]) == ([], [])
    assert empty["extra_logs"] == {name: [] for name in SIGNALS}


@pytest.mark.parametrize("labels", [{}, {"labels": None}, {"labels": []}, {"labels": "LABEL"}])
def test_openrlhf_may_send_texts_instead_of_lists_and_no_labels(gated: Running, labels):
    prompt = f"{ROW['tool_output']}\n{ROW['question']}"
    body = {"query": prompt + ROW["response"], "prompts": prompt, **labels}
    if body.get("labels") == "LABEL":
        (body["labels"],) = for_openrlhf(ROW)["labels"]
    answer = gated.post(body, "/get_reward").json()
    assert answer["rewards"][0] > 0.0
    assert answer["extra_logs"]["citation_f1"] == [1.0]


BAD = [
    ("/rm", "body", b"{"),
    ("/rm", "response", {"prompt": "q", "label": "{}"}),
    ("/rm", "response", {"response": ["r"]}),
    ("/rm", "label.question", {"response": "r", "label": "312 metres"}),
    ("/rm?citation_wieght=1", "query.citation_wieght", for_slime(ROW)),
    ("/rm?on_error=null", "on_error", for_slime(ROW)),
    ("/get_reward?on_error=mask", "on_error", OPENRLHF),
    ("/get_reward?format=scalar", "format", OPENRLHF),
    ("/get_reward", "query", {}),
    ("/get_reward", "query", {**OPENRLHF, "query": None}),
    ("/get_reward", "query[1]", {**OPENRLHF, "query": ["a", 3]}),
    ("/get_reward", "query[0]", {**OPENRLHF, "query": ["no prompt in it", "nor in this"]}),
    ("/get_reward", "prompts", {**OPENRLHF, "prompts": ["one"]}),
    ("/get_reward", "prompts", {"query": ["a"]}),
    ("/get_reward", "labels", {**OPENRLHF, "labels": ["one"]}),
    (
        "/get_reward",
        "labels[1].citation_weight",
        for_openrlhf(ROW, {**rollout(0, 1), "citation_weight": -1}),
    ),
    ("/verify", "responses_create_params", {**VERIFY, "responses_create_params": "text"}),
    ("/verify", "response", {**VERIFY, "response": None}),
    ("/verify", "response.output", {**VERIFY, "response": {"output": "text"}}),
    ("/verify", "row.positive_rubrics[0]", {**VERIFY, "positive_rubrics": [{"weight": 1}]}),
    ("/verify", "row.question", {**VERIFY, "responses_create_params": {"input": []}}),
    ("/evaluate", "body", {}),
    ("/evaluate", "history", {"history": "text"}),
    ("/evaluate", "history", {"history": [1]}),
    ("/evaluate", "messages", {"messages": []}),
    ("/evaluate", "messages[0]", {"messages": [{"role": "user", "content": "q"}]}),
    ("/evaluate", "messages[0]", {"messages": [None]}),
]


@pytest.mark.parametrize(("path", "loc", "sent"), BAD)
def test_what_is_malformed_is_named_to_the_client_and_in_the_log(
    gated: Running, caplog, path: str, loc: str, sent: Any
):
    gated.judge.forget()
    response = gated.post(sent, path)
    assert response.status_code == 422
    assert Problem.model_validate_json(response.content).details[0].loc == loc
    assert gated.judge.started == []
    if not loc.startswith("query."):  # refused before the route is entered
        assert loc in caplog.text


def test_bad_bodies_are_counted(gated: Running):
    def counted() -> float:
        metrics = gated.client.get("/metrics").text
        found = re.search(r'citemark_dialect_bad_requests_total{dialect="slime"} (\S+)', metrics)
        return float(found[1]) if found else -1.0

    before = counted()
    gated.post(b"{", "/rm")
    assert counted() == before + 1


HOSTILE = [
    ("/rm", b"", 422),
    ("/rm", b"\xff\xfe", 422),
    ("/rm", b"[]", 422),
    ("/rm", b"[" * 30_000, 422),
    ("/rm", b'{"a":' * 30_000, 422),
    ("/rm", b'{"a":NaN,"b":' + b"[" * 29_999, 422),
    ("/rm", {"response": "r", "label": '{"a":' * 50_000}, 422),
    ("/rm", {"response": "r", "label": [[[]] * 9] * 9}, 422),
    ("/evaluate", {"history": [{"role": "assistant"}], "label": "[" * 100_000}, 422),
    ("/rm", {**for_slime(ROW), "response": "<answer>" * 200_000}, 200),
    ("/rm", {**for_slime(ROW), "response": "x" * 5_000_000}, 413),
    (
        "/get_reward",
        {**OPENRLHF, "query": ["<|endoftext|>" * 8 + q for q in OPENRLHF["query"]]},
        200,
    ),
    ("/rm", {"response": "r", "label": "[" + "[]," * 400_000 + "[]]"}, 422),
    ("/get_reward", FLOOD, 413),
    ("/get_reward", {**FLOOD, "labels": []}, 413),
    ("/get_reward", {**FLOOD, "labels": [None]}, 422),
]


def test_hostile_bodies_are_refused_and_hurt_nobody(gated: Running):
    for path, content, status in HOSTILE:
        answer = gated.post(content, path)
        assert answer.status_code == status, (str(content)[:40], answer.text[:200])
    assert gated.post(for_slime(ROW), "/rm").json()["judge_failed"] == 0.0
    assert gated.admission.rollouts.held == gated.admission.buffered.held == 0


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


@pytest.mark.parametrize("length", range(1024 * 1024 - 60, 1024 * 1024 + 8, 3))
def test_what_is_odd_is_found_wherever_it_stands(length):
    odd = b'{"a":"%b\\ud83d\\ude00\\\\ud800\\ud800 NaN","b":[NaN,-Infinity,"c"]}' % (b"x" * length)
    told = decode_object(odd)
    assert told["a"][length:] == "\U0001f600\\ud800\ufffd NaN"
    assert told["b"] == [None, "-Infinity", "c"]


@given(st.binary(max_size=60) | BODIES.map(lambda body: json.dumps(body).encode()))
def test_bytes_are_an_object_or_refused(raw):
    told: object
    try:
        told = decode_object(raw)
    except InvalidRequest as error:
        told = {detail.loc: detail.message for detail in error.details}.get("body")
    assert told is not None
