"""A client that leaves costs the judge no more time."""

import http.client
import json
from typing import Any

import httpx
import pytest

from support.vllm_server import VllmServer, patiently

# The first test of the session waits for the server to start.
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


def test_vllm_stops_when_the_client_of_the_service_leaves(
    vllm: VllmServer, service: httpx.Client, rollouts: list[dict[str, Any]]
) -> None:
    finished = vllm.finished()
    items = [{**each, "question": f"{n}: {each['question']}"} for n, each in enumerate(rollouts)]
    leaving = http.client.HTTPConnection(service.base_url.host, service.base_url.port or 80)
    leaving.request("POST", "/v1/score", json.dumps({"items": items}).encode())
    patiently(lambda: vllm.busy() >= 4)
    leaving.close()
    patiently(lambda: vllm.busy() == 0)
    # vLLM counts no request that was given up; to finish, each rollout takes two or more.
    assert vllm.finished() - finished < len(items)
