"""CaRR's and eval-protocol's bodies on `/evaluate`, through a real server."""

import json
from typing import Any

import httpx
import pytest

from citemark_schemas import SIGNALS, Problem
from support.gym_rows import ROLLOUTS
from support.running_service import Running

SOURCE = "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>"
ANSWER = "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>"
QUESTION = "How long is the Orm viaduct?"
UNIT = set(SIGNALS) - {"claims", "uncited_facts", "fabricated_ids"}


def envelope(rollout: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in rollout.items() if name != "response"})


def messages_of(rollout: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": rollout["question"]},
        {"role": "assistant", "content": rollout["response"]},
    ]


def carr_body(*messages: Any, question: str = QUESTION, **fields: Any) -> dict[str, Any]:
    """As the fork's `input_keys` put it together."""
    return {
        "history": list(messages or searched(SOURCE)),
        "label": "312 metres",
        "task_unfinished": False,
        "remote_env_info": {
            "search_forbidden_strs": [question],
            "rubrics": ["<E0> is a viaduct.", "<E0> is 312 metres long."],
            "rubric_reward_ratio": 0,
        },
        **fields,
    }


def searched(*outputs: str, answer: str = ANSWER) -> list[dict[str, Any]]:
    """A history in which one message holds the answers to several calls."""
    calls = [{"tool_call_id": str(n), "name": "browser.search"} for n in range(len(outputs))]
    told = [{"tool_call_id": str(n), "output": text} for n, text in enumerate(outputs)]
    return [
        {"role": "user", "content": f"{QUESTION}\n\nYour response should be cited."},
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "content": told},
        {"role": "assistant", "content": answer},
    ]


def test_both_get_the_rewards_of_the_canonical_route(citemark_url: str) -> None:
    with httpx.Client(base_url=citemark_url, trust_env=False, timeout=30.0) as client:
        wanted = client.post("/v1/score", json={"items": ROLLOUTS}).json()["items"]
        for rollout, result in zip(ROLLOUTS, wanted, strict=True):
            carr = {
                "history": messages_of(rollout),
                "label": envelope(rollout),
                "task_unfinished": False,
                "remote_env_info": {"search_forbidden_strs": [rollout["question"]]},
            }
            answer = client.post("/evaluate", json=carr).json()
            assert answer["reward"] == answer["outcome_reward"] == result["reward"]
            assert answer["rubric_reward"] == (result["rubric_reward"] or 0.0)
            sent = {"messages": messages_of(rollout), "ground_truth": envelope(rollout)}
            for path in ("/evaluate", "/reward"):
                answer = client.post(path, json=sent).json()
                assert (answer["score"], answer["is_score_valid"]) == (result["reward"], True)


def test_carr_reads_what_its_own_server_would_send(gated: Running) -> None:
    answer = gated.post(carr_body(), "/evaluate").json()
    assert set(answer) == {
        "reward", "outcome_reward", "rubric_reward", "rubric_scores", *SIGNALS,
    }  # fmt: skip
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
def test_carr_gives_nothing_for_what_is_not_finished(
    gated: Running, change: dict[str, Any]
) -> None:
    gated.judge.forget()
    answer = gated.post(carr_body(**change), "/evaluate").json()
    assert [answer[name] for name in ("reward", "outcome_reward", "rubric_reward")] == [0.0] * 3
    assert answer["rubric_scores"] == {}
    assert answer["judge_failed"] == 0.0
    assert gated.judge.started == []


def test_carrs_policy_cannot_bring_its_own_sources(gated: Running) -> None:
    history = searched("nothing")
    history[1]["content"] = SOURCE
    assert gated.post(carr_body(*history), "/evaluate").json()["citation_f1"] == 0.0
    assert gated.post(carr_body(*history[:1], history[3]), "/evaluate").json()["citation_f1"] == 0.0


def test_carr_cannot_mask_so_that_a_mean_stands_in(gated: Running) -> None:
    waiting = carr_body(question="wait: how long is it?")
    gated.judge.gate.set()
    judged = gated.post(waiting, "/evaluate").json()["reward"]
    gated.judge.gate.clear()
    answer = gated.post(waiting, "/evaluate?deadline_s=0.3").json()
    numbers = [answer[name] for name in ("reward", "outcome_reward", "rubric_reward")]
    assert numbers == [pytest.approx(judged)] * 3
    assert (answer["judge_failed"], answer["rubric_scores"]) == (1.0, {})
    assert gated.post(carr_body(question="fail"), "/evaluate?on_error=http").status_code == 503


def test_eval_protocols_result_is_valid_and_its_metrics_are_shares(gated: Running) -> None:
    row = {"positive_rubrics": ["States the length."], "tool_output": SOURCE}
    many = ANSWER.replace("</answer>", "<snippet id=s9>It is old.</snippet> It is red.</answer>")
    sent = {"messages": messages_of({"question": QUESTION, "response": many}), **row}
    answer = gated.post(sent, "/evaluate").json()
    assert set(answer) == {"score", "is_score_valid", "reason", "metrics", "error"}
    assert set(answer["metrics"]) == UNIT
    for metric in answer["metrics"].values():
        assert type(metric["score"]) is float
        assert 0.0 <= metric["score"] <= 1.0
        assert metric["is_score_valid"] is metric["success"] is True
        assert metric["reason"]


@pytest.mark.parametrize("place", ["ground_truth", "kwargs", None])
def test_eval_protocols_row_is_found_wherever_it_is_put(gated: Running, place: str | None) -> None:
    row = {"positive_rubrics": ["States the length."], "tool_output": SOURCE}
    messages = messages_of({"question": QUESTION, "response": ANSWER})
    sent = {"messages": messages, **(row if place is None else {place: row})}
    answer = gated.post(sent, "/evaluate").json()
    assert answer["metrics"]["citation_f1"]["score"] == 1.0


def test_eval_protocol_is_told_that_a_score_is_none(gated: Running) -> None:
    sent = {
        "messages": messages_of({"question": "fail", "response": ANSWER}),
        "ground_truth": {"tool_output": SOURCE},
    }
    answer = gated.post(sent, "/reward").json()
    assert (answer["score"], answer["is_score_valid"]) == (0.0, False)
    assert answer["metrics"]["judge_failed"]["score"] == 1.0
    assert "no connection" in answer["error"]
    assert gated.post(sent, "/reward?on_error=http").status_code == 503


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({}, "body"),
        ({"history": "text"}, "history"),
        ({"history": [1]}, "history"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "q"}]}, "messages[0]"),
        ({"messages": [None]}, "messages[0]"),
    ],
)
def test_what_is_no_body_of_either_is_named(
    gated: Running, sent: dict[str, Any], place: str
) -> None:
    response = gated.post(sent, "/evaluate")
    assert response.status_code == 422
    assert Problem.model_validate_json(response.content).details[0].loc == place
