"""What a running service logs, as its own process writes it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support.judge_tasks import by_shape, shape_of
from support.judged_service import running_judge
from support.running_service import PATIENCE_S, until
from support.scripted_judge import MODEL, Reply, Script, ScriptedJudge, Status, always
from support.scripted_service import free_url
from support.step_rollouts import rollout, step

GOOD = by_shape(V=2, S=2, U=1, C=1)
SECRET = "zanzibar-quokka"


SERVE = [sys.executable, "-m", "citemark_service", "serve"]


class Served:
    """A service in a process of its own; `text` is what it logged, once it has ended."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)
        self.text = ""

    def of(self, logger: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.text.splitlines())
        return [line for line in lines if line["logger"] == logger]


@contextmanager
def logged(script: Script, **settings: str) -> Iterator[Served]:
    url = free_url()
    served, judge = Served(url), ScriptedJudge(script)
    with running_judge(judge), tempfile.TemporaryDirectory() as folder:
        chosen = {
            "port": url.rpartition(":")[2],
            "judge": "vllm",
            "judge_url": judge.url,
            "judge_model": MODEL,
            "judge_attempts": "2",
            "probe_at_start": "false",
            "evidence_quotes": "false",
            "ledger": "off",
            "log_format": "json",
            **settings,
        }
        environ = {f"CITEMARK_{name.upper()}": value for name, value in chosen.items()}
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                SERVE, stderr=out, env={"PATH": os.environ["PATH"], **environ}, cwd=folder
            )
        try:
            until(lambda: process.poll() is not None or "serving on" in log.read_text())
            yield served
        finally:
            served.client.close()
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
            served.text = log.read_text()


def test_lines_say_which_request_and_rollout_and_hold_no_text():
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
    assert SECRET not in served.text
    judge = served.of("citemark.judge")
    assert judge
    assert {(line["request"], line["rollout"]) for line in judge} == {("r-1", "sample 1")}
    assert {line["level"] for line in judge} == {"info"}
    kinds = {(line["message"].split(":")[0].split(" ")[0], line["kind"]) for line in judge}
    assert ("call", "judge_server_error") in kinds
    assert any("attempt 2 follows" in line["message"] for line in judge)
    assert any("asked about again" in line["message"] for line in judge)
    (access,) = [each for each in served.of("citemark.access") if each["request"] == "r-1"]
    assert (access["route"], access["status"]) == ("/v1/score", 200)
    statuses = {each["route"]: each["status"] for each in served.of("citemark.access")}
    assert statuses["unmatched"] == 404


def test_a_dead_judge_writes_no_line_for_each_call():
    with logged(always(Status(503)), judge_attempts="1") as served:
        answer = served.client.post("/v1/score", json={"items": step(30, 10)})
        assert {item["reward"] for item in answer.json()["items"]} == {None}
    lost = served.of("citemark.unjudged")
    assert 0 < len(lost) <= 60
    assert {line["level"] for line in lost} == {"warning"}
    assert {line["kind"] for line in lost} == {"judge_overloaded"}
    assert all(line["rollout"] and line["request"] for line in lost)
    assert len(served.of("citemark.judge")) <= 120


def test_rollouts_are_logged_where_that_is_wanted_clipped_and_in_one_line():
    one = {
        **rollout(1, 0),
        "run": "r1",
        "question": f"\x1b[2J{SECRET}?\n\u202e",
        "response": rollout(1, 0)["response"] + "z" * 5_000,
    }
    with logged(GOOD, log_rollouts="true") as served:
        answer = served.client.post("/v1/score", json=one)
    (line,) = served.of("citemark.rollouts")
    assert line["reward"] == answer.json()["reward"]
    assert (line["run"], line["rollout"]) == ("r1", one["id"])
    assert line["question"] == f"<U+001B>[2J{SECRET}?\n<U+202E>"
    assert len(line["response"]) == 501
    assert line["response"].endswith("…")


def test_text_is_the_default_and_each_line_is_one_line():
    one = {**rollout(1, 0), "id": "evil\n2026 ERROR forged"}
    with logged(always(Status(400)), log_format="text") as served:
        served.client.post("/v1/score", json=one, headers={"X-Request-ID": "r-1"})
    lines = served.text.splitlines()
    assert not any(line.startswith("2026 ERROR forged") for line in lines)
    (line,) = [line for line in lines if "citemark.unjudged" in line]
    assert line.endswith('request=r-1 rollout="evil\\n2026 ERROR forged"')
    (access,) = [line for line in lines if "citemark.access" in line and "r-1" in line]
    assert access.endswith("id=r-1")
