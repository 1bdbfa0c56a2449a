"""Requests that are refused: each status, and what the body says about why."""

import gzip
import json
import socket
import time
import zlib

import httpx
import pytest

from citemark_schemas import Problem
from support.running_service import until

DEEP = b"[" * 30_000
POST = b"POST /v1/score HTTP/1.1\r\nHost: x\r\n"
UNFINISHED = POST + b"Content-Length: 50\r\n\r\n{"


def problem_of(response: httpx.Response, status: int, error: str) -> Problem:
    assert response.status_code == status
    problem = Problem.model_validate_json(response.content)
    assert problem.error == error
    assert problem.message
    return problem


def invalid(response: httpx.Response) -> list[str]:
    """The places that a 422 names."""
    return [detail.loc for detail in problem_of(response, 422, "invalid_request").details]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"question": " "}, "question"),
        ({"response": None}, "response"),
        ({"tool_output": None}, "items[2]"),
        ({"snippets": [{"id": "a", "text": "t"}, {"id": "b"}]}, "snippets[1].text"),
        ({"snippets": ["t"] * 5001}, "items[2]"),
        ({"conversation": [{"role": "user", "content": "t"}] * 5001}, "items[2]"),
        ({"rubrics": ["t"] * 2001}, "rubrics"),
        ({"rubrics": ["t", "t"]}, "items[2].rubrics"),
        ({"positive_rubrics": ["t"], "negative_rubrics": ["t"]}, "items[2].rubrics"),
        ({"rubrics": [{"text": "t", "weight": n} for n in (3, -3)]}, "items[2].rubrics"),
        ({"rubrics": "[" + "[]," * 400_000 + "[]]"}, "rubrics"),
        ({"rubrics": ["t", {"description": "t", "x": "[" + "[]," * 400_000 + "[]]"}]}, "rubrics"),
        (
            {"positive_rubrics": ["a", {"description": "b", "weight": 1e400}]},
            "items[2].positive_rubrics[1].weight",
        ),
        ({"rubrics": ["a", {"title": "no text"}]}, "items[2].rubrics[1]"),
        ({"positive_rubrics": "not json"}, "positive_rubrics"),
        ({"static_rubrics": "v0"}, "static_rubrics"),
        ({"citation_unit": "page"}, "citation_unit"),
        ({"verification_reward": 0}, "verification_reward"),
        ({"verificaton_reward": 1}, "verificaton_reward"),
        ({"id": "x" * 513}, "id"),
    ],
)
def test_a_field_is_named_with_its_item(service, rollout, fields, place):
    body = {"items": [rollout(), rollout(), rollout(**fields)]}
    response = service.post(json.dumps(body).replace("Infinity", "1e400").encode())
    assert any(loc.startswith("items[2]") and place in loc for loc in invalid(response))
    assert service.judge.started == []


def test_a_single_rollout_names_its_fields_bare(service, rollout):
    assert set(invalid(service.post(rollout(question="", response=1)))) == {"question", "response"}
    broken = problem_of(service.post(b'{"question": oops}'), 422, "invalid_request")
    assert "byte 13" in broken.message


def test_bad_items_and_fields_are_listed_up_to_a_bound(service, rollout):
    response = service.post({"items": [rollout(question="") for _ in range(200)]})
    assert invalid(response) == [f"items[{n}].question" for n in range(50)]
    assert "199 more" in response.json()["message"]
    response = service.post({"items": [rollout(**{f"x{n}": n for n in range(30_000)})]})
    assert invalid(response) == ["items[0]"]
    assert "30000 errors" in response.json()["message"]


def test_no_text_of_the_caller_comes_back_at_length(service, rollout):
    long = "z" * 100_000
    for bad in (
        {"positive_rubrics": [{"description": "d", "weight": long}]},
        {long: 1},
        {"static_rubrics": long},
    ):
        response = service.post(rollout(**bad))
        assert invalid(response)
        assert len(response.content) < 2000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"text"',
        b"{",
        b'{"items": 3}',
        b'{"items": []}',
        b'{"items": [1]}',
        b'{"items": [NaN]}',
        b'{"items": [{}], "deadline_s": 0}',
        b'{"items": [{}], "deadline_s": 1e999}',
        b'{"question": NaN}',
        b'{"question": "\\ud800", "response": "", "tool_output": ""}',
        b'{"items": [{"question": "\\ud800", "response": "", "tool_output": ""}]}',
        b'{"\\ud800": 1}',
        b'{"question": "\xff", "response": "", "tool_output": ""}',
        b'{"\xff": 1}',
        b'{"question": ' + DEEP,
        b'{"items": ' + DEEP,
        b'{"a":' * 30_000,
        b'{"question": 1' + b"0" * 5000 + b"}",
        b'{"question": "q", "response": "", "tool_output": "", "verification_reward": -Infinity}',
        b'{"question": "q", "response": "", "tool_output": "", "verification_reward": 1e999}',
        b'{"question": "q", "response": "", "tool_output": "", "rubrics": "' + DEEP + b'"}',
        b'{"question": "q", "response": "", "tool_output": "", "metadata": {"a": 1'
        + b"0" * 5000
        + b"}}",
        b'{"items": [{}]} trailing',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_hostile_json_is_the_callers_mistake(service, body):
    assert invalid(service.post(body))
    assert service.admission.rollouts.held == service.admission.buffered.held == 0


def test_a_body_over_the_limit_is_refused_early_and_the_client_can_read_why(start):
    service = start(max_body_bytes=2048)
    announced = b"Content-Length: 999999\r\n\r\n"
    growing = b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + b" " * 4096 + b"\r\n"
    for rest in (announced, growing):
        with service.connect() as connection:
            connection.sendall(POST + rest)
            assert connection.recv(64).startswith(b"HTTP/1.1 413 ")
    with service.connect() as connection:  # a reset, where the server just closed
        connection.sendall(POST + b"Content-Length: 8000000\r\n\r\n" + b" " * 8_000_000)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    problem = Problem.model_validate_json(answer.partition(b"\r\n\r\n")[2])
    assert problem.error == "too_large"
    assert "max_body_bytes" in problem.message


ROLLOUT = b'{"question":"q","tool_output":"","response":"","%b":%b}'


def many(item: bytes, size: int) -> bytes:
    return b"[" + b",".join([item] * (size // (len(item) + 1))) + b"]"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score", b'{"items":' + many(b"0", 30_000_000) + b"}"),
        ("/v1/score", b'{"items":' + many(b"0        ", 60_000_000) + b"}"),
        ("/v1/score", b'{"items":' + many(b"[]", 30_000_000) + b"}"),
        ("/v1/score", ROLLOUT % (b"snippets", many(b"0", 4_000_000))),
        ("/v1/score", ROLLOUT % (b"metadata", b'{"a":' + many(b"{}", 4_000_000) + b"}")),
        ("/get_reward", b'{"query":[NaN,' + many(b"0", 10_000_000)[1:] + b"}"),
        ("/aggregate_metrics", b'{"verify_responses":' + many(b'{"a":1}', 20_000_000) + b"}"),
    ],
    ids=["numbers", "padded numbers", "lists", "snippets", "metadata", "not a number", "rows"],
)
def test_a_body_of_more_values_than_text_is_refused_at_little_cost(service, path, body):
    start = time.process_time()
    refused = service.post(body, path)
    # Decoding any of them takes seconds and gigabytes.
    assert time.process_time() - start < 1.0
    assert problem_of(refused, 413, "too_large").message


@pytest.mark.parametrize("text", ['a \\" [{,' * 200_000, "\\\\" * 400_000, "\u00e9,{" * 100_000])
def test_marks_inside_of_texts_are_no_values(service, rollout, text):
    assert service.post(rollout(tool_output="<snippet id=s1>x</snippet>" + text)).is_success


def test_half_a_surrogate_pair_fails_its_item_alone(service, rollout):
    bad = [
        rollout(),
        rollout(response="\ud83d"),
        rollout(),
        rollout(id="a\udc00"),
        rollout(id="\U0001f600"),
    ]
    refused = service.post({"items": bad})
    assert invalid(refused) == ["items[1]", "items[3]"]
    assert "half a surrogate pair" in refused.json()["message"]
    assert service.post(rollout(id="\U0001f600 \\ud83d")).is_success


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("DEFLATE", raw_deflate)],
)
def test_a_compressed_body_is_read_within_the_same_bounds(start, rollout, coding, pack):
    service, headers = start(max_body_bytes=100_000), {"content-encoding": coding}
    body = json.dumps(rollout()).encode()
    scored = service.post(pack(body), headers=headers)
    assert scored.json()["rollout_hash"] == service.post(body).json()["rollout_hash"]
    bomb = service.post(pack(b" " * 3_000_000 + body), headers=headers)
    assert "max_body_bytes" in problem_of(bomb, 413, "too_large").message
    for broken in (pack(body)[:-9], b"\x1f\x8b" + body, b"", body):
        assert invalid(service.post(broken, headers=headers)) == ["body"]
    until(lambda: service.admission.buffered.held == 0)


@pytest.mark.parametrize(("coding", "path"), [("br", "/v1/score"), ("gzip", "/v1/score/stream")])
def test_another_coding_is_named(service, rollout, coding, path):
    refused = service.post(rollout(), path, headers={"content-encoding": coding})
    assert coding in problem_of(refused, 415, "unknown_coding").message


def test_items_and_rollouts_have_limits(start, rollout):
    service, long = start(max_items=3, max_rollout_bytes=2048), rollout(tool_output="x" * 2048)
    for body, limit in (
        ({"items": [rollout()] * 4}, "max_items"),
        (long, "max_rollout_bytes"),
        ({"items": [rollout(), long]}, "max_rollout_bytes"),
    ):
        assert limit in problem_of(service.post(body), 413, "too_large").message


def test_more_than_fits_now_is_429_and_all_or_nothing(start, rollout):
    service = start(max_inflight=4)
    running = service.in_background({"items": [rollout("wait")] * 3})
    until(lambda: service.admission.rollouts.held == 3)
    refused = service.post({"items": [rollout("other")] * 2})
    problem_of(refused, 429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert "other" not in service.judge.started
    assert service.post(rollout("fits")).status_code == 200
    service.judge.gate.set()
    assert running.result().status_code == 200
    assert service.post({"items": [rollout("other")] * 2}).status_code == 200
    never = service.post({"items": [rollout()] * 5})
    assert "4" in problem_of(never, 413, "too_large").message


def test_all_bodies_together_are_bounded(start, rollout):
    service = start(max_buffered_bytes=4096)
    running = service.in_background(rollout("wait", tool_output="x" * 3000))
    until(lambda: service.admission.buffered.held > 3000)
    assert service.post(rollout(tool_output="y" * 2000)).status_code == 429
    service.judge.gate.set()
    assert running.result().status_code == 200
    assert service.post(rollout(tool_output="y" * 2000)).status_code == 200


def test_a_body_that_stops_arriving_is_408(start):
    service = start(body_timeout_s=0.2)
    with service.connect() as connection:
        connection.sendall(UNFINISHED)
        assert connection.recv(64).startswith(b"HTTP/1.1 408 ")
    until(lambda: service.admission.rollouts.held == 0)


def test_a_client_that_leaves_while_sending_leaves_nothing(service):
    with service.connect() as connection:
        connection.sendall(UNFINISHED)
        until(lambda: service.admission.rollouts.held == 1)
        connection.shutdown(socket.SHUT_RDWR)
    until(lambda: service.admission.rollouts.held == service.admission.buffered.held == 0)


def test_unknown_routes_and_methods_are_problems_too(service):
    problem_of(service.client.get("/v1/nothing"), 404, "not_found")
    wrong = service.client.get("/v1/score")
    problem_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
