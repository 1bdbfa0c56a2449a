"""NeMo Gym's protocol through a real server: `/verify` and what stands beside it."""

import json
from typing import Any

import pytest

from citemark_schemas import SIGNALS, Problem
from support.gym_rows import answered, called, response_of, said
from support.running_service import Running

SOURCE = "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>"
ANSWER = "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>"
PARAMS = {"input": [{"role": "user", "content": "How long is the Orm viaduct?"}]}
ROW: dict[str, Any] = {
    "responses_create_params": PARAMS,
    "positive_rubrics": ["States the length."],
    "tool_output": SOURCE,
}
FULL = 0.7
"""What the gated judge's full marks come to: two of the static criteria are defects."""
AGENTIC = {**PARAMS, "tools": [{"type": "function", "name": "search", "parameters": {}}]}


def body(*items: Any, **row: Any) -> dict[str, Any]:
    return {**ROW, **row, "response": response_of(*(items or (said(ANSWER),)))}


def agentic(*items: Any) -> dict[str, Any]:
    """A row without sources of its own, whose policy may call tools."""
    row = {name: value for name, value in ROW.items() if name != "tool_output"}
    return {**row, "responses_create_params": AGENTIC, "response": response_of(*items)}


def failing(**row: Any) -> dict[str, Any]:
    params = {"input": "fail: how long is the Orm viaduct?"}
    return {**body(), "responses_create_params": params, **row}


def citation_f1(service: Running, sent: dict[str, Any]) -> float:
    response = service.post(sent, "/verify")
    assert response.status_code == 200, response.text
    return float(response.json()["citation_f1"])


def test_what_was_sent_comes_back_as_it_was(gated):
    sent = body(
        said(ANSWER, status="completed", logprobs=[-0.1, None]),
        agent_ref={"name": "simple_agent", "type": "responses_api_agents"},
        _ng_task_index=7,
        big=2**53 + 1,
        tiny=1e-300,
        whole=1.0,
        text='\u2028 \U0001f600 \\ " </script>',
        nothing=None,
        instance_config={"seed": 3},
    )
    answer = gated.post(sent, "/verify").json()
    assert {name: answer[name] for name in sent} == sent
    assert set(answer) - set(sent) == {
        "reward", "mask_sample", "failure_kind", "failure_reason", *SIGNALS,
    }  # fmt: skip
    assert (answer["failure_kind"], answer["failure_reason"]) == (None, None)


def test_a_failed_judge_masks_the_sample_in_every_form(gated):
    answer = gated.post(failing(instance_config={"seed": 3}), "/verify").json()
    assert answer["mask_sample"] is True
    assert answer["instance_config"] == {"seed": 3, "mask_sample": True}
    assert answer["failure_kind"] == answer["_ng_failure_class"] == "judge_failed"
    assert "no connection" in answer["failure_reason"]
    assert answer["_ng_failure_judge_error"] == answer["failure_reason"]
    assert answer["response"]["output"]
    assert answer["responses_create_params"]
    assert answer["reward"] == 0.0  # nothing is known of its prompt


def test_a_masked_sample_has_its_prompts_mean_so_that_no_baseline_moves(gated):
    sent = {**body(), "responses_create_params": {"input": "wait: is it a viaduct?"}}
    gated.judge.gate.set()
    assert gated.post(sent, "/verify").json()["reward"] == FULL
    gated.judge.gate.clear()
    masked = gated.post(sent, "/verify?deadline_s=0.3").json()
    assert (masked["reward"], masked["mask_sample"]) == (pytest.approx(FULL), True)
    assert masked["failure_reason"].startswith("deadline_exceeded")


def test_a_row_that_is_verified_again_loses_the_marks_of_its_failure(gated):
    stale = {
        "mask_sample": True,
        "failure_kind": "judge_failed",
        "failure_reason": "then",
        "reward": 0.0,
        "instance_config": {"mask_sample": True},
        "_ng_failure_class": "judge_failed",
        "_ng_failure_judge_error": "then",
    }
    answer = gated.post(body(**stale), "/verify").json()
    assert answer["reward"] == FULL
    assert answer["mask_sample"] is answer["instance_config"]["mask_sample"] is False
    assert answer["failure_kind"] is answer["failure_reason"] is None
    assert not answer.keys() & {"_ng_failure_class", "_ng_failure_judge_error"}


@pytest.mark.parametrize("path", ["/verify?on_error=http", "/strict/verify"])
def test_who_drops_what_raised_gets_an_error(gated, path):
    response = gated.post(failing(), path)
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert "no connection" in Problem.model_validate_json(response.content).message
    assert gated.post(body(), path).json()["reward"] == FULL


def test_who_can_do_neither_gets_a_number_without_a_mask(gated):
    answer = gated.post(failing(), "/verify?on_error=fallback").json()
    assert answer["mask_sample"] is False
    assert "_ng_failure_class" not in answer
    assert (answer["judge_failed"], answer["failure_kind"]) == (1.0, "judge_failed")


@pytest.mark.parametrize(
    "output",
    [
        SOURCE,
        json.dumps(SOURCE),
        json.dumps({"query": "how long", "results": [{"score": 1, "text": SOURCE}]}),
        json.dumps([{"type": "text", "text": SOURCE}]),
        [{"type": "input_text", "text": SOURCE}],
    ],
)
def test_tools_answers_are_the_sources_whatever_wraps_them(gated, output):
    sent = agentic(called("search", "c1"), answered(output), said(ANSWER))
    assert citation_f1(gated, sent) == 1.0


def test_the_rows_sources_stay_beside_those_of_tools(gated):
    both = (
        "<answer><snippet id=s1>It is 312 metres.</snippet><snippet id=s2>Old.</snippet></answer>"
    )
    found = answered("<snippet id=s2>It is old.</snippet>")
    assert citation_f1(gated, body(called("search", "c1"), found, said(both))) == 1.0


@pytest.mark.parametrize(
    "items",
    [
        [],  # a policy that called no tool found nothing, and is judged
        [called("search", "c1"), answered("none")],
        [said(SOURCE)],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": SOURCE}]}],
        [called("search", "c1", query=SOURCE)],
        [answered(SOURCE, role="assistant")],
        [called("verify", "c1"), answered(SOURCE)],
        [called("/v1/score", "c1"), answered(SOURCE)],
        [called("./verify", "c1"), answered(SOURCE)],
        [called("%76erify", "c1"), answered(SOURCE)],
        [called("verify", "c1"), called("search", "c1"), answered(SOURCE)],
        [{"type": "function_call", "call_id": "c1"}, answered(SOURCE)],
    ],
)
def test_what_the_policy_can_write_is_never_a_source(gated, items):
    assert citation_f1(gated, agentic(*items, said(ANSWER))) == 0.0


def test_only_the_last_message_is_judged(gated):
    sent = body(said(ANSWER), called("search", "c1"), answered("nothing"), said("I give up."))
    assert gated.post(sent, "/verify").json()["refused"] == 1.0


@pytest.mark.parametrize(
    ("fields", "reward"),
    [
        ({"status": "completed"}, FULL),
        ({}, FULL),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, -1.0),
        ({"status": "incomplete", "incomplete_details": {"reason": None}}, -1.0),
        ({"incomplete_details": {"reason": "content_filter"}}, -1.0),
        ({"status": "failed"}, -1.0),
    ],
)
def test_a_response_that_was_cut_is_told_from_one_that_ended(gated, fields, reward):
    sent = {**body(), "response": response_of(said(ANSWER), **fields)}
    path = "/verify?non_stop_penalty=true&non_stop_penalty_value=-1"
    assert gated.post(sent, path).json()["reward"] == pytest.approx(reward)


@pytest.mark.parametrize(
    "item",
    [None, 1, "text", [], {}, {"type": [], "role": {}}, {"type": "message", "role": "assistant"}],
)
def test_items_of_any_shape_are_survived(gated, item):
    response = gated.post(body(item, said(ANSWER)), "/verify")
    assert response.status_code == 200
    assert response.json()["response"]["output"][0] == item


def test_what_python_writes_beyond_json_is_read(gated):
    sent = body(cell=float("nan"), other=float("inf"), text="\ud800 \U0001f600")
    answer = gated.post(sent, "/verify").json()
    assert (answer["cell"], answer["other"]) == (None, "Infinity")
    assert answer["text"] == "\ufffd \U0001f600"


def test_a_session_needs_nothing(gated):
    for path in ("/seed_session", "/strict/seed_session"):
        for content in (b"", b"{}", json.dumps(ROW).encode(), b"[" * 100_000):
            assert gated.post(content, path).json() == {}
    assert gated.client.get("/reverify_mode").json() == "stateless"
    assert gated.client.get("/").status_code == 200


def test_verified_rows_are_aggregated(gated):
    rows = [gated.post(body(_ng_task_index=n // 2), "/verify").json() for n in range(4)]
    rows += [gated.post(failing(_ng_task_index=at), "/verify").json() for at in (1, 5)]
    answer = gated.post({"verify_responses": rows}, "/aggregate_metrics").json()
    coverage = {name: n for name, n in answer["key_metrics"].items() if "coverage/" in name}
    assert coverage == {
        "coverage/measured_rollouts": 4,
        "coverage/masked_rollouts": 2,
        "coverage/measured_tasks": 2,
        "coverage/fully_masked_tasks": 1,
    }
    assert answer["key_metrics"]["mean/reward"] == pytest.approx(FULL)
    assert answer["agent_metrics"].items() >= coverage.items()
    assert [each["_ng_task_index"] for each in answer["group_level_metrics"]] == [0, 1]
    empty = gated.post({"verify_responses": []}, "/aggregate_metrics").json()
    assert empty == {"group_level_metrics": [], "agent_metrics": {}, "key_metrics": {}}


@pytest.mark.parametrize("sent", [b"{}", b'{"verify_responses": [1]}', b"[]", b"nonsense"])
def test_what_cannot_be_aggregated_is_refused(gated, sent):
    assert gated.post(sent, "/aggregate_metrics").status_code == 422
