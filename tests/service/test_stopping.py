"""Signals to a real process: what is in flight is delivered, what is new is refused."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.running_service import PATIENCE_S, until
from support.service_process import ServiceProcess, service_process

_ENTRY = """
import sys, threading
from citemark_service.app import create_app
from citemark_service.serve import run
from citemark_service.settings import load_settings
from support.in_process_judges import GatedJudge

judge = GatedJudge()
threading.Thread(target=lambda: sys.stdin.readline() and judge.gate.set(), daemon=True).start()
run(create_app(load_settings(), judge))
"""


@pytest.fixture
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A line on its standard input opens the judge's gate."""
    grace_s = getattr(request, "param", 600.0)
    with service_process(tmp_path, "-c", _ENTRY, stop_grace_s=grace_s) as running:
        yield running


@pytest.fixture
def hold(process: ServiceProcess) -> Iterator[Callable[[Any, int], Future[httpx.Response]]]:
    """`hold(body, 2)` posts what waits for the gate, and returns once two are in flight."""
    with ThreadPoolExecutor(1) as pool:

        def post(body: Any, inflight: int) -> Future[httpx.Response]:
            answer = pool.submit(process.client.post, "/v1/score", json=body)
            shown = f"\ncitemark_inflight_rollouts {inflight:.1f}\n"
            until(lambda: shown in process.client.get("/metrics").text)
            return answer

        yield post


def is_draining(process: ServiceProcess) -> bool:
    return process.client.get("/readyz").status_code == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_work_finish_and_refuses_more(process, hold, rollout, number):
    running = hold({"items": [rollout("wait"), rollout("now")]}, 2)
    process.popen.send_signal(number)
    until(lambda: is_draining(process))
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
def test_the_grace_ends_and_says_so(process, hold, rollout):
    running = hold(rollout("wait"), 1)
    process.popen.terminate()
    response = running.result()
    assert (response.status_code, response.json()["error"]) == (503, "shutting_down")
    assert process.popen.wait(PATIENCE_S) == 0
    assert "cutting 1 rollouts off" in process.log


def test_a_second_signal_ends_it_at_once(process, hold, rollout):
    running = hold(rollout("wait"), 1)
    process.popen.terminate()
    until(lambda: is_draining(process))
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
