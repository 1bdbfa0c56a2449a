"""`POST /v1/score/stream` from clients that read, do not read, misbehave and leave."""

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import StreamLine
from citemark_service.web.routes.score import LineCutter
from support.running_service import Running, until

PATH = "/v1/score/stream"


class Duplex:
    """A client that writes lines and reads answers whenever it likes."""

    def __init__(self, service: Running, caller: str = "one") -> None:
        self.socket = service.connect()
        self._response = HTTPResponse(self.socket, method="POST")
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        head += f"X-Citemark-Caller: {caller}\r\n\r\n"
        self.socket.sendall(head.encode())

    def __enter__(self) -> "Duplex":
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self.socket.close()

    def send(self, *lines: Any) -> None:
        self.send_raw(ndjson(*lines) + b"\n")

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def status(self) -> int:
        self._response.begin()
        return self._response.status

    def answers(self) -> Iterator[StreamLine]:
        return map(StreamLine.model_validate_json, self._response)

    def answer(self) -> StreamLine:
        return next(self.answers())


def streamed(service: Running, body: bytes, query: str = "") -> dict[int, StreamLine]:
    response = service.post(body, PATH + query)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [StreamLine.model_validate_json(line) for line in response.content.splitlines()]
    assert len({line.line for line in lines}) == len(lines)
    return {line.line: line for line in sorted(lines, key=lambda line: line.line)}


def ndjson(*rollouts: dict[str, Any]) -> bytes:
    return b"\n".join(json.dumps(rollout).encode() for rollout in rollouts)


def error_of(line: StreamLine) -> str:
    assert line.type == "error"
    assert line.error is not None
    return line.error.error


def test_every_line_is_answered_with_its_number(service, rollout):
    body = b"\n" + ndjson(rollout(id="a"), rollout("fail")) + b"\n \r\n" + ndjson(rollout())
    lines = streamed(service, body)
    assert list(lines) == [2, 3, 5]
    results = [line.result for line in lines.values() if line.result]
    assert [result.id for result in results] == ["a", "2", "4"]
    assert [result.reward for result in results] == [pytest.approx(0.7), None, pytest.approx(0.7)]
    assert results[1].failure is not None


def test_answers_come_as_they_finish_while_the_client_still_writes(service, rollout):
    with Duplex(service) as client:
        client.send(rollout("wait"), rollout("now"))
        assert client.status() == 200
        assert client.answer().line == 2
        client.send(rollout("now"))
        assert client.answer().line == 3
        service.judge.gate.set()
        assert client.answer().line == 1
        client.end()
        assert list(client.answers()) == []


def test_a_bad_line_is_named_and_hurts_no_other(start, rollout):
    service = start(max_rollout_bytes=4096)
    bad = [
        b"{oops}",
        json.dumps(rollout(question="")).encode(),
        json.dumps(rollout(static_rubrics="v0")).encode(),
        b"x" * 200_000,
        b"[" * 4000,
        b'{"question": "\xff"}',
        b"3",
    ]
    body = b"\n".join([ndjson(rollout()), *bad, ndjson(rollout())])
    lines = streamed(service, body)
    assert list(lines) == list(range(1, 10))
    assert [lines[n].type for n in (1, 9)] == ["result", "result"]
    errors = [error_of(lines[n]) for n in range(2, 9)]
    assert errors == ["invalid_request"] * 3 + ["too_large"] + ["invalid_request"] * 3
    problem = lines[3].error
    assert problem is not None
    assert problem.details[0].loc == "question"


def test_knobs_are_query_parameters_that_a_line_overrides(service, rollout):
    body = ndjson(rollout(), rollout(verification_reward=100.0))
    query = "?verification_reward=10&apply_citation_reward=false"
    lines = streamed(service, body, query)
    rewards = [line.result.reward for line in lines.values() if line.result]
    assert rewards == pytest.approx([5.0, 50.0])


def test_reading_pauses_while_the_window_is_full(start, rollout):
    service = start(stream_window=4)
    with Duplex(service) as client:
        client.send(*[rollout(f"wait {n}") for n in range(50)])
        client.end()
        until(lambda: len(service.judge.started) == 4)
        assert service.post(rollout("meanwhile")).status_code == 200
        assert len(service.judge.started) == 5
        assert service.admission.rollouts.held == 4
        service.judge.gate.set()
        assert client.status() == 200
        assert sorted(line.line for line in client.answers()) == list(range(1, 51))


def test_the_client_is_stopped_while_the_window_is_full(start, rollout):
    service = start(stream_window=2)
    line = json.dumps(rollout("wait", tool_output="x" * 60_000)).encode() + b"\n"
    with Duplex(service) as client:
        client.socket.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.send_raw(line * 2000)
        until(lambda: service.admission.rollouts.held == 2)


def test_streams_wait_for_room_and_lines_keep_their_numbers(start, rollout):
    service = start(max_inflight=3, stream_window=50)
    lines = streamed(service, ndjson(*[rollout(id=str(n)) for n in range(1, 401)]))
    assert len(lines) == 400
    assert all(line.result and line.result.id == str(number) for number, line in lines.items())


def test_open_streams_are_bounded(start, rollout):
    service = start(max_streams=1)
    with Duplex(service) as client:
        client.send(rollout())
        assert client.status() == 200
        refused = service.post(ndjson(rollout()), PATH)
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        assert refused.json()["error"] == "overloaded"
        client.end()
        list(client.answers())
    until(lambda: service.admission.streams.held == 0)
    assert service.post(ndjson(rollout()), PATH).status_code == 200


def test_no_caller_holds_all_streams(start, rollout):
    service = start(max_streams=4)

    def open_for(caller: str) -> Duplex:
        client = stack.enter_context(Duplex(service, caller))
        client.send(rollout())
        return client

    with ExitStack() as stack:
        assert [open_for("a").status() for _ in range(3)] == [200, 200, 429]
        assert [open_for("b").status() for _ in range(2)] == [200, 429]
        assert open_for("c").status() == 200
    until(lambda: service.admission.streams.held == 0)
    with ExitStack() as stack:
        assert [open_for("a").status() for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("ended", [True, False])
def test_a_client_that_leaves_cancels_its_judging(start, rollout, ended):
    service = start(stream_window=4)
    with Duplex(service) as client:
        client.send(*[rollout(f"wait {n}") for n in range(20)])
        if ended:
            client.end()
        until(lambda: len(service.judge.started) == 4)
    until(lambda: len(service.judge.cancelled) == 4)
    until(lambda: service.admission.streams.held == service.admission.rollouts.held == 0)
    assert len(service.judge.started) == 4


@pytest.mark.parametrize("drip", [b"", b" ", b"\n"])
def test_a_silent_stream_is_ended_with_the_reason(start, rollout, drip):
    service = start(stream_idle_s=2.0)
    with Duplex(service) as client:
        client.send(rollout())
        assert client.status() == 200

        def send_nothing_much() -> None:
            with suppress(OSError):
                while drip:
                    client.send_raw(drip)
                    time.sleep(0.1)

        service.pool.submit(send_nothing_much)
        first, last = client.answers()
        assert (first.line, last.line > 1) == (1, True)
        assert error_of(last) == "body_timeout"


def test_a_client_that_never_reads_is_given_up(start, rollout):
    service = start(stream_idle_s=0.5, stream_window=8)
    with Duplex(service) as client:
        claim = "<answer><snippet id=s1>" + "It is long. " * 5000 + "</snippet></answer>"
        client.socket.settimeout(2.0)
        # How far a write gets before it is given up is the buffers' affair.
        with suppress(TimeoutError, ConnectionError):
            client.send(*[rollout(response=claim) for _ in range(1000)])
        until(lambda: service.admission.streams.held == service.admission.rollouts.held == 0)


_TEXT = st.lists(st.sampled_from([b"a", b"bb", b" ", b"\n", b"\r\n", b"{}", b"cccc"])).map(b"".join)


@given(text=_TEXT, cuts=st.lists(st.integers(0, 60)), limit=st.integers(1, 8))
def test_lines_are_cut_alike_whatever_the_chunks(text, cuts, limit):
    edges = [0, *sorted(edge for edge in cuts if edge <= len(text)), len(text)]
    cutter = LineCutter(limit)
    chunks = (text[start:end] for start, end in itertools.pairwise(edges))
    lines = [line for chunk in chunks for line in cutter.feed(chunk)]
    assert lines + list(cutter.end()) == [
        (number, line if len(line) <= limit else None)
        for number, line in enumerate(text.split(b"\n"), start=1)
        if len(line) > limit or line.strip()
    ]
