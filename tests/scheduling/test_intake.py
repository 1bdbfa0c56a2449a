"""What a request says of its caller and its priority reaches the judge with every task."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from citemark_service.app import create_app
from citemark_service.judges.tasks import Origin
from citemark_service.settings import Settings
from support.gated_judge import GatedJudge
from support.scripted_service import listening

ROLLOUT = {
    "question": "How long is the Orm viaduct?",
    "tool_output": "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>",
    "response": "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>",
    "positive_rubrics": ["States the length."],
}
LINE = json.dumps(ROLLOUT) + "\n"


class OriginJudge(GatedJudge):
    """Remembers who asked."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: list[Origin] = []

    async def judge_criteria(self, task, *, meter, deadline):
        self.origins.append(task.origin)
        return await super().judge_criteria(task, meter=meter, deadline=deadline)


@pytest.fixture(scope="module")
def judge() -> OriginJudge:
    return OriginJudge()


@pytest.fixture(scope="module")
def client(judge: OriginJudge) -> Iterator[httpx.Client]:
    table = Settings()
    app = create_app(settings=table, judge=judge)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listening(app, listener), httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def origins(judge: OriginJudge, response: httpx.Response) -> list[tuple[str, int]]:
    """What the judge was told since the last look."""
    assert response.status_code == 200, response.text
    told = [(origin.caller, origin.priority) for origin in judge.origins]
    judge.origins.clear()
    return told


def test_training_from_this_address_is_the_default(client, judge):
    response = client.post("/v1/score", json=ROLLOUT)
    assert origins(judge, response) == [("127.0.0.1", 0)]
    response = client.post("/v1/score/stream", content=LINE)
    assert origins(judge, response) == [("127.0.0.1", 0)]


def test_a_batch_says_its_priority_and_a_header_its_caller(client, judge):
    body = {"items": [ROLLOUT, ROLLOUT], "priority": "audit"}
    response = client.post("/v1/score", json=body, headers={"X-Citemark-Caller": "eval-7"})
    assert origins(judge, response) == [("eval-7", 10)] * 2


def test_a_stream_says_its_priority_in_the_query(client, judge):
    response = client.post(
        "/v1/score/stream?priority=audit&citation_weight=0.5",
        content=LINE,
        headers={"X-Citemark-Caller": "eval-7"},
    )
    assert origins(judge, response) == [("eval-7", 10)]
    assert json.loads(response.text)["result"]["knobs"]["citation_weight"] == 0.5


@pytest.mark.parametrize("name", ["x" * 65, "two words", "naïve"])
@pytest.mark.parametrize("route", ["/v1/score", "/v1/score/stream"])
def test_a_caller_that_could_not_be_told_in_one_word_is_refused(client, judge, route, name):
    response = client.post(
        route, content=LINE, headers={"X-Citemark-Caller": name.encode("latin-1")}
    )
    assert response.status_code == 422
    assert "X-Citemark-Caller" in response.json()["message"]
    assert judge.origins == []


def test_an_unknown_priority_is_refused_by_its_name(client, judge):
    body = {"items": [ROLLOUT], "priority": "urgent"}
    assert "priority" in client.post("/v1/score", json=body).json()["message"]
    assert client.post("/v1/score/stream?priority=urgent", content=LINE).status_code == 422
    assert judge.origins == []
