"""What a request says of its caller and its priority reaches the judge with every task."""

import asyncio
import json
import threading
from contextlib import ExitStack
from typing import ClassVar

import pytest

from citemark_service.app import create_app
from citemark_service.settings import Settings
from support.in_process_judges import GatedJudge
from support.running_service import begin, until
from support.scripted_service import client_of
from support.step_rollouts import rollout

ROLLOUT = rollout(1, 1)
AUDIT = {"items": [ROLLOUT, ROLLOUT], "priority": "audit"}
STREAM = "/v1/score/stream"
ORIGINS: list[tuple[str, int]] = []


class OriginJudge(GatedJudge):
    """Notes who asked."""

    async def judge_criteria(self, task, *, meter, deadline):
        ORIGINS.append((task.origin.caller, task.origin.priority))
        return await super().judge_criteria(task, meter=meter, deadline=deadline)


@pytest.fixture(scope="module")
def client():
    with client_of(create_app(Settings(), OriginJudge())) as client:
        yield client


@pytest.mark.parametrize(
    ("route", "body", "caller", "origins"),
    [
        ("/v1/score", ROLLOUT, None, [("127.0.0.1", 0)]),
        (STREAM, ROLLOUT, None, [("127.0.0.1", 0)]),
        ("/v1/score", AUDIT, "eval-7", [("eval-7", 10)] * 2),
        (f"{STREAM}?priority=audit", ROLLOUT, "eval-7", [("eval-7", 10)]),
    ],
    ids=["one", "stream", "batch", "stream of an audit"],
)
def test_who_asks_and_how_urgently_reaches_the_judge(client, route, body, caller, origins):
    ORIGINS.clear()
    headers = {"X-Citemark-Caller": caller} if caller else {}
    response = client.post(route, content=json.dumps(body) + "\n", headers=headers)
    assert response.status_code == 200, response.text
    assert origins == ORIGINS


@pytest.mark.parametrize("route", ["/v1/score", STREAM])
@pytest.mark.parametrize("caller", ["x" * 65, "two words", "naïve"])
def test_a_caller_that_could_not_be_told_in_one_word_is_refused(client, route, caller):
    ORIGINS.clear()
    headers = {"X-Citemark-Caller": caller.encode("latin-1")}
    response = client.post(route, content=json.dumps(ROLLOUT), headers=headers)
    assert response.status_code == 422
    assert "X-Citemark-Caller" in response.json()["message"]
    assert ORIGINS == []


def test_an_unknown_priority_is_refused_by_its_name(client):
    ORIGINS.clear()
    batch = client.post("/v1/score", json={**AUDIT, "priority": "urgent"})
    assert "priority" in batch.json()["message"]
    assert client.post(f"{STREAM}?priority=urgent", json=ROLLOUT).status_code == 422
    assert ORIGINS == []


class PacedJudge(GatedJudge):
    """Takes a turn of the loop for each question, and notes which have begun when one ends."""

    ahead: ClassVar[list[int]] = []

    async def judge_criteria(self, task, *, meter, deadline):
        verdicts = await super().judge_criteria(task, meter=meter, deadline=deadline)
        await asyncio.sleep(0)
        self.ahead.append(len(self.started))
        return verdicts


def test_of_requests_that_come_together_the_first_is_judged_before_the_others_are_read():
    with begin(PacedJudge()) as service, ExitStack() as stack:
        loop, held = service.server.servers[0].get_loop(), threading.Event()
        bodies = [json.dumps({**ROLLOUT, "question": str(n)}).encode() for n in range(40)]
        connections = [stack.enter_context(service.connect()) for _ in bodies]
        head = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        for connection, body in zip(connections, bodies, strict=True):
            connection.sendall(head % len(body) + body[:-1])
        until(lambda: service.admission.rollouts.held == len(bodies))
        loop.call_soon_threadsafe(held.wait)
        for connection in connections:
            connection.sendall(b"}")
        held.set()
        until(lambda: len(PacedJudge.ahead) == len(bodies))
        assert PacedJudge.ahead[0] < len(bodies) / 2
        until(lambda: service.admission.rollouts.held == 0)
