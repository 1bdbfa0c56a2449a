"""What a caller without a token can hold is bounded: heads, connections, time."""

import contextlib
import itertools
import json
import socket
import time

import httpx
import pytest

from citemark_service.settings import Settings
from support.running_service import PATIENCE_S, until
from support.scripted_service import client_of, real_app

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
LONG = b"Content-Length: 1000000\r\n\r\n"


def read_to_end(connection: socket.socket, *, drip: bytes = b"") -> bytes:
    """What comes until the service closes, to whom `drip` is sent a few times a second."""
    answer = b""
    connection.settimeout(0.1 if drip else PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if drip:
                connection.sendall(drip)
            if not (piece := connection.recv(65536)):
                return answer
            answer += piece
        except TimeoutError:
            continue
        except OSError:
            return answer
    raise AssertionError(f"still open after {answer!r}")


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    with contextlib.suppress(TimeoutError):
        try:
            return connection.recv(1) == b""
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    ("start_of", "more"),
    [
        (GET, b"x: " + b"y" * 1000 + b"\r\n"),
        (GET + b"x: ", b"y" * 1000),
        (b"GET /", b"y" * 1000),
        (CHUNKED, b"1\r\n \r\n" * 100 + b"1;" + b"y" * 200_000),
        (CHUNKED + b"0\r\n", b"x: " + b"y" * 1000 + b"\r\n"),
    ],
    ids=["many headers", "one header", "a path", "an extension of a chunk", "trailers"],
)
def test_a_head_that_never_ends_ends_the_connection(service, start_of, more):
    with service.connect() as connection:
        connection.sendall(start_of)
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            connection.sendall(more * (50_000_000 // len(more)))


@pytest.mark.parametrize(
    ("headers", "status"), [({f"x-{n}": "y" * 1000 for n in range(70)}, 431), ({}, 200)]
)
def test_heads_are_bounded_under_another_server(headers, status):
    with client_of(real_app(Settings())) as client:
        assert client.get("/healthz", headers=headers).status_code == status


def test_a_cookie_costs_nothing(service):
    start = time.process_time()
    answer = service.client.get("/healthz", headers={"Cookie": 'a="' + "\\x" * 30_000 + '"'})
    assert answer.status_code == 200
    assert time.process_time() - start < 2.0  # of the whole process; it took eight


@pytest.mark.parametrize(
    ("sent", "drip", "answer"),
    [
        (b"", b"", b""),
        (GET, b"", b"HTTP/1.1 408 "),
        (GET, b"x", b"HTTP/1.1 408 "),
        (POST + LONG, b" ", b"HTTP/1.1 408 "),
        (CHUNKED, b"1\r\n \r\n", b"HTTP/1.1 408 "),
        (GET + LONG, b" ", b"HTTP/1.1 200 "),
        (GET + b"\r\n", b"\r\n", b"HTTP/1.1 200 "),
        (GET + b"\r\n" + GET, b"", b"HTTP/1.1 200 "),
        ((GET + b"\r\n") * 1000, b"", b""),
        ((GET + OFFER + b"\r\n") * 1000, b"", b""),
        (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", b"", b"HTTP/1.1 400 "),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", b"HTTP/1.1 400 "),
    ],
    ids=["nothing", "half a head", "a slow head", "a slow body", "slow chunks", "an unread body",
         "empty lines", "half a second head", "many heads", "many offers", "a tunnel",
         "another protocol"],
)  # fmt: skip
def test_no_connection_stays_open_without_a_request(start, caplog, sent, drip, answer):
    service = start(header_timeout_s=0.5, body_deadline_s=0.5, keep_alive_s=1)
    with service.connect() as connection:
        connection.sendall(sent)
        assert read_to_end(connection, drip=drip).startswith(answer)
    until(lambda: service.admission.rollouts.held == 0)
    assert "Traceback" not in caplog.text


def test_who_reads_no_answer_is_given_up(start):
    service = start(stream_idle_s=0.5)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(service.server.servers[0].sockets[0].getsockname())
        connection.sendall(b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16)
        until(lambda: service.server.server_state.connections)
        until(lambda: not service.server.server_state.connections)


def test_a_request_in_work_outlives_the_times_for_callers(start, rollout):
    service = start(header_timeout_s=0.2, body_deadline_s=0.2, keep_alive_s=1)
    service.post(rollout())  # so that the next request is a second one on its connection
    answer = service.in_background(rollout("wait"))
    until(lambda: service.judge.started.count("wait") == 1)
    time.sleep(1.5)  # no condition: longer than each of them
    service.judge.gate.set()
    assert answer.result().status_code == 200


@pytest.mark.parametrize("bound", ["max_connections", "max_peer_connections"])
def test_the_oldest_that_wait_give_way_to_new_connections(start, rollout, caplog, bound):
    service = start(**{bound: 4})
    answer = service.in_background(rollout("wait"))
    until(lambda: service.judge.started.count("wait") == 1)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _ in range(6)]
        until(lambda: all(is_closed(each) for each in waiting[:3]))
        for _ in range(5):
            assert httpx.get(f"{service.server.url}/healthz", trust_env=False).status_code == 200
    assert bound in caplog.text
    service.judge.gate.set()
    assert answer.result().status_code == 200


def test_trusted_proxies_may_have_more_connections(start):
    service = start(max_peer_connections=1, trusted_proxies=["192.0.2.7", "127.0.0.0/8"])
    with service.connect() as first, service.connect() as second:
        for each in (first, second, first):
            each.sendall(GET + b"\r\n")
            assert each.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_where_all_connections_work_a_new_one_is_closed(start, rollout):
    service = start(max_connections=1)
    answer = service.in_background(rollout("wait"))
    until(lambda: service.judge.started.count("wait") == 1)
    with service.connect() as connection:
        assert read_to_end(connection) == b""
    service.judge.gate.set()
    assert answer.result().status_code == 200


def test_an_offer_of_http_2_does_not_cost_the_body(service, rollout):
    body = json.dumps(rollout()).encode()
    request = POST + OFFER + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with service.connect() as connection:
        # Whole, and then cut in the middle of the head and of the body.
        for cuts in ((0, len(request)), (0, 70, len(request) - 9, len(request))):
            for begin, end in itertools.pairwise(cuts):
                connection.sendall(request[begin:end])
                time.sleep(0.05)  # so that it arrives in pieces; either way the answer is the same
            assert b'"reward"' in connection.recv(65536)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["127.0.0.1"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "x route=/v1/score client=203.0.113.9", "-"),
        (["192.0.2.0/24"], "203.0.113.9", "127.0.0.1"),
    ],
)
def test_an_address_is_believed_of_a_trusted_proxy_only(start, caplog, trusted, forwarded, client):
    caplog.set_level("INFO")
    headers = {"X-Forwarded-For": forwarded}
    start(trusted_proxies=trusted).client.get("/healthz", headers=headers)
    until(lambda: "route=/healthz" in caplog.text)
    assert f" client={client} " in caplog.text
    assert caplog.text.count("client=") == 1


def test_a_probe_may_ask_for_the_head_only(service):
    for path in ("/healthz", "/readyz"):
        answer = service.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
