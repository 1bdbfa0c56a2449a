"""vLLM dies under load and comes back: typed failures, no numbers, then scores again."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from support.vllm_server import VllmServer, patiently

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

_UNREACHABLE = "judge_unreachable"


def numbers(result: dict[str, Any]) -> list[float]:
    """Every number that a judge could have given."""
    values = [result["reward"], result["rubric_reward"], result["citation"]]
    values += [rubric["score"] for rubric in result["rubrics"]]
    values += [claim["support"] for claim in result["claims"] if claim["fabricated"] == []]
    return [value for value in values if value is not None]


def test_a_killed_judge_gives_failures_and_a_restarted_one_scores(
    vllm: VllmServer, service: httpx.Client, rollouts: list[dict[str, Any]]
) -> None:
    items = [each for each in rollouts if "<answer>" in each["response"]]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.post, "/v1/score", json={"items": items})
        patiently(lambda: vllm.busy() >= 4)
        vllm.kill()
        results = asked.result().json()["items"]
    lost = [result for result in results if result["failure"] is not None]
    assert lost
    assert {result["failure"]["kind"] for result in lost} == {_UNREACHABLE}
    assert [numbers(result) for result in lost] == [[]] * len(lost)

    patiently(lambda: service.get("/readyz").status_code == 503)
    assert service.get("/readyz").json()["error"] == _UNREACHABLE

    vllm.start()
    patiently(lambda: service.get("/readyz").status_code == 200)
    again = service.post("/v1/score", json={"items": items[:2]}).json()["items"]
    assert [result["failure"] for result in again] == [None, None]
    assert all(isinstance(result["reward"], float) for result in again)
