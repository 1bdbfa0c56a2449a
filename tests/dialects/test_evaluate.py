"""CaRR's and eval-protocol's bodies on `/evaluate`, through a real server."""

import json
from typing import Any

import httpx
import pytest

from citemark_schemas import SIGNALS
from support.gym_rows import ROLLOUTS

SOURCE = "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>"
ANSWER = "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>"
QUESTION = "How long is the Orm viaduct?"
ROW = {"positive_rubrics": ["States the length."], "tool_output": SOURCE}
UNIT = set(SIGNALS) - {"reward_std", "claims", "uncited_facts", "fabricated_ids"}
REWARDS = ("reward", "outcome_reward", "rubric_reward")


def messages(question: str = QUESTION, response: str = ANSWER) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": response}]


def carr_body(*history: Any, question: str = QUESTION, **fields: Any) -> dict[str, Any]:
    """As the fork's `input_keys` put it together."""
    return {
        "history": list(history or searched(SOURCE)),
        "label": "312 metres",
        "task_unfinished": False,
        "remote_env_info": {
            "search_forbidden_strs": [question],
            "rubrics": ["<E0> is a viaduct.", "<E0> is 312 metres long."],
            "rubric_reward_ratio": 0,
        },
        **fields,
    }


def searched(output: str) -> list[dict[str, Any]]:
    """A history in which a message holds a list of answers to calls."""
    calls = [{"tool_call_id": "0", "name": "browser.search"}]
    return [
        {"role": "user", "content": f"{QUESTION}\n\nYour response should be cited."},
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "content": [{"tool_call_id": "0", "output": output}]},
        {"role": "assistant", "content": ANSWER},
    ]


def test_both_get_the_rewards_of_the_canonical_route(citemark_url):
    with httpx.Client(base_url=citemark_url, trust_env=False, timeout=30.0) as client:
        wanted = client.post("/v1/score", json={"items": ROLLOUTS}).json()["items"]
        for rollout, result in zip(ROLLOUTS, wanted, strict=True):
            said = messages(rollout["question"], rollout["response"])
            label = json.dumps({key: value for key, value in rollout.items() if key != "response"})
            carr = carr_body(
                *said,
                label=label,
                remote_env_info={"search_forbidden_strs": [rollout["question"]]},
            )
            answer = client.post("/evaluate", json=carr).json()
            assert answer["reward"] == answer["outcome_reward"] == result["reward"]
            assert answer["rubric_reward"] == (result["rubric_reward"] or 0.0)
            sent = {"messages": said, "ground_truth": label}
            for path in ("/evaluate", "/reward"):
                answer = client.post(path, json=sent).json()
                assert (answer["score"], answer["is_score_valid"]) == (result["reward"], True)


def test_carr_reads_what_its_own_server_would_send(gated):
    answer = gated.post(carr_body(), "/evaluate").json()
    assert set(answer) == {*REWARDS, "rubric_scores", *SIGNALS}
    assert answer["citation_f1"] == 1.0
    assert list(answer["rubric_scores"]) == ["0", "1", "2"]
    first, _, last = answer["rubric_scores"].values()
    assert first == {"raw_rubric": "<E0> is a viaduct.", "is_supported": True, "score": 1.0}
    assert last["raw_rubric"] == "Correct answer"


@pytest.mark.parametrize(
    "change",
    [
        {"task_unfinished": True},
        {"history": []},
        {"history": searched(SOURCE)[:-1]},
        {"history": [*searched(SOURCE), {"role": "user", "content": "go on"}]},
    ],
)
def test_carr_gives_nothing_for_what_is_not_finished(gated, change):
    gated.judge.forget()
    answer = gated.post(carr_body(**change), "/evaluate").json()
    assert [answer[name] for name in REWARDS] == [0.0] * 3
    assert (answer["rubric_scores"], answer["judge_failed"]) == ({}, 0.0)
    assert gated.judge.started == []


def test_carrs_policy_cannot_bring_its_own_sources(gated):
    history = searched("nothing")
    history[1]["content"] = SOURCE
    for said in (history, [history[0], history[3]]):
        assert gated.post(carr_body(*said), "/evaluate").json()["citation_f1"] == 0.0


def test_carr_cannot_mask_so_that_a_mean_stands_in(gated):
    waiting = carr_body(question="wait: how long is it?")
    gated.judge.gate.set()
    judged = gated.post(waiting, "/evaluate").json()["reward"]
    gated.judge.gate.clear()
    answer = gated.post(waiting, "/evaluate?deadline_s=0.3").json()
    assert [answer[name] for name in REWARDS] == [pytest.approx(judged)] * 3
    assert (answer["judge_failed"], answer["rubric_scores"]) == (1.0, {})
    assert gated.post(carr_body(question="fail"), "/evaluate?on_error=http").status_code == 503


def test_eval_protocols_result_is_valid_and_its_metrics_are_shares(gated):
    many = ANSWER.replace("</answer>", "<snippet id=s9>It is old.</snippet> It is red.</answer>")
    answer = gated.post({"messages": messages(response=many), **ROW}, "/evaluate").json()
    assert set(answer) == {"score", "is_score_valid", "reason", "metrics", "error"}
    assert set(answer["metrics"]) == UNIT
    for metric in answer["metrics"].values():
        assert type(metric["score"]) is float
        assert 0.0 <= metric["score"] <= 1.0
        assert metric["is_score_valid"] is metric["success"] is True
        assert metric["reason"]


@pytest.mark.parametrize("row", [{"ground_truth": ROW}, {"kwargs": ROW}, ROW])
def test_eval_protocols_row_is_found_wherever_it_is_put(gated, row):
    answer = gated.post({"messages": messages(), **row}, "/evaluate").json()
    assert answer["metrics"]["citation_f1"]["score"] == 1.0


def test_eval_protocol_is_told_that_a_score_is_none(gated):
    sent = {"messages": messages("fail"), "ground_truth": {"tool_output": SOURCE}}
    answer = gated.post(sent, "/reward").json()
    assert (answer["score"], answer["is_score_valid"]) == (0.0, False)
    assert answer["metrics"]["judge_failed"]["score"] == 1.0
    assert "no connection" in answer["error"]
    assert gated.post(sent, "/reward?on_error=http").status_code == 503
