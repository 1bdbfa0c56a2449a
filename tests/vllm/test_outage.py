"""What an end in the middle costs: of a client no more judging, of vLLM no invented number."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.examples import EXAMPLE_ROWS
from support.vllm_server import patiently

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


def test_vllm_stops_when_the_client_of_the_service_leaves(vllm, service):
    finished = vllm.counters()["vllm:request_success_total"]
    items = [
        {**each, "question": f"{n}: {each['question']}"} for n, each in enumerate(EXAMPLE_ROWS)
    ]
    leaving = http.client.HTTPConnection(service.base_url.host, service.base_url.port or 80)
    leaving.request("POST", "/v1/score", json.dumps({"items": items}).encode())
    patiently(lambda: vllm.busy() >= 4)
    leaving.close()
    patiently(lambda: vllm.busy() == 0)
    # vLLM counts no request that was given up; to finish, each rollout takes two or more.
    assert vllm.counters()["vllm:request_success_total"] - finished < len(items)


def numbers(result: dict[str, Any]) -> list[float]:
    """Every number that a judge could have given."""
    values = [result["reward"], result["rubric_reward"], result["citation"]]
    values += [rubric["score"] for rubric in result["rubrics"]]
    values += [claim["support"] for claim in result["claims"] if claim["fabricated"] == []]
    return [value for value in values if value is not None]


def test_a_killed_judge_gives_failures_and_a_restarted_one_scores(vllm, service):
    items = [each for each in EXAMPLE_ROWS if "<answer>" in each["response"]]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.post, "/v1/score", json={"items": items})
        patiently(lambda: vllm.busy() >= 4)
        vllm.kill()
        results = asked.result().json()["items"]
    lost = [result for result in results if result["failure"] is not None]
    assert lost
    assert {result["failure"]["kind"] for result in lost} == {"judge_unreachable"}
    assert [numbers(result) for result in lost] == [[]] * len(lost)

    patiently(lambda: service.get("/readyz").status_code == 503)
    assert service.get("/readyz").json()["error"] == "judge_unreachable"

    vllm.start()
    patiently(lambda: service.get("/readyz").status_code == 200)
    again = service.post("/v1/score", json={"items": items[:2]}).json()["items"]
    assert [result["failure"] for result in again] == [None, None]
    assert all(isinstance(result["reward"], float) for result in again)
