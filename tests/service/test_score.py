"""`POST /v1/score` where nothing is wrong with the request."""

import json
from typing import Any

import pytest

from citemark_schemas import ScoreResponse, ScoreResult
from support.running_service import until


def test_one_rollout_is_answered_by_one_result(service, rollout):
    response = service.post(rollout(id="mine"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    result = ScoreResult.model_validate_json(response.content)
    assert (result.id, result.failure) == ("mine", None)
    # Full marks mean both defects too: of the row's criterion and V3's three, two count.
    assert result.rubric_reward == pytest.approx(2 / 4)
    assert result.reward == pytest.approx(2 / 4 + 0.2)


def test_a_slow_item_does_not_change_the_order(service, rollout):
    items = [rollout("wait", id="slow"), rollout("now", id="quick")]
    client = service.in_background({"items": items})
    until(lambda: len(service.judge.started) == 2)
    service.judge.gate.set()
    assert [item["id"] for item in client.result().json()["items"]] == ["slow", "quick"]


def test_a_refused_rollout_is_zero_without_a_call(service, rollout):
    result = service.post(rollout(response="no block at all")).json()
    assert (result["reward"], result["refusal"]["kind"]) == (0.0, "no_answer_block")
    assert service.judge.started == []


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_json_is_json_whatever_it_is_called(service, rollout, content_type):
    response = service.post(rollout(), headers={"Content-Type": content_type})
    assert response.status_code == 200


def test_a_client_that_leaves_cancels_its_judging(service, rollout):
    body = json.dumps({"items": [rollout(f"wait {n}") for n in range(8)]}).encode()
    connection = service.connect()
    connection.sendall(
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    until(lambda: len(service.judge.started) == 8)
    assert service.admission.rollouts.held == 8
    connection.close()
    until(lambda: len(service.judge.cancelled) == 8)
    until(lambda: service.admission.rollouts.held == service.admission.buffered.held == 0)


def test_a_large_batch_is_scored_whole_and_keeps_order_and_ids(service, rollout):
    padding = "<snippet id=s2>" + "filler " * 500 + "</snippet>"
    long = rollout(tool_output=rollout()["tool_output"] + padding)
    items = [{**long, "id": f"r{n}" if n % 2 else None} for n in range(1000)]
    results = ScoreResponse.model_validate_json(service.post({"items": items}).content).items
    assert [result.reward for result in results] == pytest.approx([0.7] * 1000)
    assert [result.id for result in results] == [f"r{n}" if n % 2 else str(n) for n in range(1000)]


def test_the_nearest_knob_wins(start, rollout):
    service, one, own = start(citation_weight=0.7), rollout(), rollout(citation_weight=0.1)

    def weights(body: Any, query: str = "?citation_weight=0.5") -> list[float]:
        answer = service.post(body, f"/v1/score{query}").raise_for_status().json()
        return [item["knobs"]["citation_weight"] for item in answer.get("items", [answer])]

    assert weights(one, "") == [0.7]
    assert weights(one) == [0.5]
    assert weights(own) == [0.1]
    assert weights({"items": [one, own]}) == [0.5, 0.1]
    assert weights({"items": [one, own], "citation_weight": 0.3}) == [0.3, 0.1]


@pytest.mark.parametrize("query", ["citation_weight=nan", "citaton_weight=1", "deadline_s=0"])
@pytest.mark.parametrize("route", ["/v1/score", "/v1/score/stream"])
def test_a_bad_query_is_named(service, rollout, route, query):
    answer = service.post(rollout(), f"{route}?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["message"]
