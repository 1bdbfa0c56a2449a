"""What a running service logs, as its own process writes it."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.judge_tasks import by_shape, shape_of
from support.judged_service import running_judge
from support.running_service import PATIENCE_S
from support.scripted_judge import MODEL, Reply, Script, ScriptedJudge, Status, always
from support.service_process import ServiceProcess, service_process
from support.step_rollouts import rollout, step

GOOD = by_shape(V=2, S=2, U=1, C=1)
SECRET = "zanzibar-quokka"


Logged = Callable[..., AbstractContextManager[ServiceProcess]]
"""`with logged(script, log_format="text") as served`: its log is whole afterwards."""


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    @contextmanager
    def serving(script: Script, **settings: object) -> Iterator[ServiceProcess]:
        judge = ScriptedJudge(script)
        with running_judge(judge):
            chosen = {
                "judge": "vllm",
                "judge_url": judge.url,
                "judge_model": MODEL,
                "judge_attempts": 2,
                "probe_at_start": False,
                "evidence_quotes": False,
                "ledger": "off",
                "log_format": "json",
                **settings,
            }
            with service_process(tmp_path, **chosen) as served:
                yield served
                served.popen.terminate()
                served.popen.wait(PATIENCE_S)

    return serving


def lines_of(served: ServiceProcess, logger: str) -> list[dict[str, Any]]:
    lines = map(json.loads, served.log.splitlines())
    return [line for line in lines if line["logger"] == logger]


def test_lines_say_which_request_and_rollout_and_hold_no_text(logged):
    asked: set[str] = set()

    def script(request):
        shape = shape_of(request)
        if shape in asked:
            return GOOD(request)
        asked.add(shape)
        return Status(500) if "S" in shape else Reply(f"prose of {SECRET}")

    one = {**rollout(1, 0), "question": f"Where is {SECRET}?", "id": "sample 1"}
    with logged(script) as served:
        answer = served.client.post("/v1/score", json=one, headers={"X-Request-ID": "r-1"})
        assert answer.json()["reward"] is not None
        served.client.post("/v1/score", content=b'{"question": "' + SECRET.encode())
        served.client.get(f"/{SECRET}%0Apath?{SECRET}=1")
    assert SECRET not in served.log
    judge = lines_of(served, "citemark.judge")
    assert judge
    assert {(line["request"], line["rollout"]) for line in judge} == {("r-1", "sample 1")}
    assert {line["level"] for line in judge} == {"info"}
    kinds = {(line["message"].split(":")[0].split(" ")[0], line["kind"]) for line in judge}
    assert ("call", "judge_server_error") in kinds
    assert any("attempt 2 follows" in line["message"] for line in judge)
    assert any("asked about again" in line["message"] for line in judge)
    (access,) = [each for each in lines_of(served, "citemark.access") if each["request"] == "r-1"]
    assert (access["route"], access["status"]) == ("/v1/score", 200)
    statuses = {each["route"]: each["status"] for each in lines_of(served, "citemark.access")}
    assert statuses["unmatched"] == 404


def test_a_dead_judge_writes_no_line_for_each_call(logged):
    with logged(always(Status(503)), judge_attempts="1") as served:
        answer = served.client.post("/v1/score", json={"items": step(30, 10)})
        assert {item["reward"] for item in answer.json()["items"]} == {None}
    lost = lines_of(served, "citemark.unjudged")
    assert 0 < len(lost) <= 60
    assert {line["level"] for line in lost} == {"warning"}
    assert {line["kind"] for line in lost} == {"judge_overloaded"}
    assert all(line["rollout"] and line["request"] for line in lost)
    assert len(lines_of(served, "citemark.judge")) <= 120


def test_rollouts_are_logged_where_that_is_wanted_clipped_and_in_one_line(logged):
    one = {
        **rollout(1, 0),
        "run": "r1",
        "question": f"\x1b[2J{SECRET}?\n\u202e",
        "response": rollout(1, 0)["response"] + "z" * 5_000,
    }
    with logged(GOOD, log_rollouts="true") as served:
        answer = served.client.post("/v1/score", json=one)
    (line,) = lines_of(served, "citemark.rollouts")
    assert line["reward"] == answer.json()["reward"]
    assert (line["run"], line["rollout"]) == ("r1", one["id"])
    assert line["question"] == f"<U+001B>[2J{SECRET}?\n<U+202E>"
    assert len(line["response"]) == 501
    assert line["response"].endswith("…")


def test_text_is_the_default_and_each_line_is_one_line(logged):
    one = {**rollout(1, 0), "id": "evil\n2026 ERROR forged"}
    with logged(always(Status(400)), log_format="text") as served:
        served.client.post("/v1/score", json=one, headers={"X-Request-ID": "r-1"})
    lines = served.log.splitlines()
    assert not any(line.startswith("2026 ERROR forged") for line in lines)
    (line,) = [line for line in lines if "citemark.unjudged" in line]
    assert line.endswith('request=r-1 rollout="evil\\n2026 ERROR forged"')
    (access,) = [line for line in lines if "citemark.access" in line and "r-1" in line]
    assert access.endswith("id=r-1")
