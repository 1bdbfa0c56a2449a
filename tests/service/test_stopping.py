"""Signals to a real process: what is in flight is delivered, what is new is refused."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.running_service import PATIENCE_S, until

_ENTRY = """
import sys, threading
from citemark_service.app import create_app
from citemark_service.serve import run
from citemark_service.settings import load_settings
from support.in_process_judges import GatedJudge

judge = GatedJudge()
threading.Thread(target=lambda: sys.stdin.readline() and judge.gate.set(), daemon=True).start()
run(create_app(load_settings(port=0, stop_grace_s=float(sys.argv[1])), judge))
"""


class Process:
    """A service in a process of its own; a line on its standard input opens the judge's gate."""

    def __init__(self, grace_s: float, log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, str(grace_s)],
                stdin=subprocess.PIPE,
                stderr=stderr,
                cwd=Path(__file__).parents[1],
            )
        until(lambda: "serving on" in self.log)
        (url,) = re.findall(r"serving on (http://\S+)", self.log)
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S)
        self._pool = ThreadPoolExecutor(1)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def hold(self, body: Any, inflight: int) -> Future[httpx.Response]:
        """Post what waits for the gate, and return once it is in flight."""
        answer = self._pool.submit(self.client.post, "/v1/score", json=body)
        shown = f"\ncitemark_inflight_rollouts {inflight:.1f}\n"
        until(lambda: shown in self.client.get("/metrics").text)
        return answer

    def draining(self) -> bool:
        return self.client.get("/readyz").status_code == 503

    def stop(self) -> None:
        self.popen.kill()
        self.popen.communicate()
        self._pool.shutdown()
        self.client.close()


@pytest.fixture
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    running = Process(getattr(request, "param", 600.0), tmp_path / "log")
    yield running
    running.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_work_finish_and_refuses_more(process, rollout, number):
    running = process.hold({"items": [rollout("wait"), rollout("now")]}, 2)
    process.popen.send_signal(number)
    until(process.draining)
    for path in ("/v1/score", "/v1/score/stream"):
        refused = process.client.post(path, json=rollout())
        assert refused.status_code == 503
        assert refused.json()["error"] == "shutting_down"
        assert refused.headers["retry-after"]
        assert refused.headers["connection"] == "close"
    assert process.client.get("/healthz").status_code == 200
    process.popen.communicate(b"\n", timeout=PATIENCE_S)
    results = running.result().json()["items"]
    assert [result["reward"] for result in results] == pytest.approx([0.7, 0.7])
    assert process.popen.returncode == 0
    assert "Traceback" not in process.log


@pytest.mark.parametrize("process", [0.5], indirect=True)
def test_the_grace_ends_and_says_so(process, rollout):
    running = process.hold(rollout("wait"), 1)
    process.popen.terminate()
    response = running.result()
    assert (response.status_code, response.json()["error"]) == (503, "shutting_down")
    assert process.popen.wait(PATIENCE_S) == 0
    assert "cutting 1 rollouts off" in process.log


def test_a_second_signal_ends_it_at_once(process, rollout):
    running = process.hold(rollout("wait"), 1)
    process.popen.terminate()
    until(process.draining)
    process.popen.terminate()
    assert process.popen.wait(PATIENCE_S) == -signal.SIGTERM
    assert isinstance(running.exception(), httpx.HTTPError) or running.result().is_error


def test_a_stream_delivers_what_it_has_and_refuses_new_lines(start, rollout):
    service = start(stop_grace_s=600.0)
    two = (json.dumps(rollout("wait")).encode() + b"\n") * 2

    def upload() -> Iterator[bytes]:
        yield two
        until(lambda: len(service.judge.started) == 2)
        service.server.stop()
        until(lambda: service.admission.draining)
        yield two
        time.sleep(0.2)
        service.judge.gate.set()

    response = service.client.post("/v1/score/stream", content=upload())
    answers = {answer["line"]: answer for answer in map(json.loads, response.text.splitlines())}
    assert [answers[n]["type"] for n in (1, 2, 3, 4)] == ["result", "result", "error", "error"]
    assert {answers[n]["error"]["error"] for n in (3, 4)} == {"shutting_down"}
    service.thread.join(PATIENCE_S)
    assert not service.thread.is_alive()


def test_idle_streams_and_stalled_uploads_do_not_hold_up_the_end(start):
    service = start(stop_grace_s=600.0)
    with service.connect() as stream, service.connect() as upload:
        stream.sendall(
            b"POST /v1/score/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert stream.recv(15).startswith(b"HTTP/1.1 200 OK")
        upload.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
        until(lambda: service.admission.rollouts.held == 1)
        service.server.stop()
        assert upload.recv(15).startswith(b"HTTP/1.1 503 ")
        service.thread.join(PATIENCE_S)
        assert not service.thread.is_alive()
