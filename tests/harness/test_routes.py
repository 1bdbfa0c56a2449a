"""Every route under odd methods, queries, headers, bodies and timings, with `/healthz` beside.

REQUESTS=20000 .venv/bin/pytest tests/harness/test_routes.py --timeout 3600
"""

import gzip
import json
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from support.hostile_rollouts import PAYLOADS
from support.judge_tasks import by_shape
from support.judged_service import running_judge
from support.running_service import PATIENCE_S
from support.scripted_judge import MODEL, ScriptedJudge
from support.service_process import service_process

REQUESTS = int(os.environ.get("REQUESTS", "600"))
PAGES = ("/", "/ui", "/docs", "/openapi.json", "/ui/judge", "/ui/runs/%00", "/nowhere", "*")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "%")
ODD: tuple[Any, ...] = (
    *(
        *PAYLOADS,
        "",
        "\0",
        "\ud800",
        "x" * 9000,
        "\ufdfa" * 900,
        "1e999",
        "[" * 900,
        "-1",
        "<answer>",
    ),
    *(None, True, 0, -1, 2**70, 10**300, 0.5, float("nan"), float("-inf"), [], {}, [[]], {"": {}}),
    *([None] * 500, [{}] * 500, json.loads("[" * 400 + "]" * 400)),
)
VALUES = ["nan", "-1", "1e999", "0", "true", "%00", "%ff", "%", "null", "mask", "scalar", "ÿ", ""]
HEADERS = """Content-Type: text/plain|Content-Type:|Content-Type: application/json; charset=utf-16
Content-Encoding: gzip|Content-Encoding: deflate|Content-Encoding: br|Content-Encoding: gzip, gzip
Content-Length: 3|Content-Length: 99999999999|Content-Length: -1|Transfer-Encoding: chunked|\0: x
Expect: 100-continue|Host: evil|Origin: null|Origin: https://evil|Authorization: Bearer \xff
X-Citemark-Caller: \xff|X-Forwarded-For: ,%s|X-Request-ID: a b|Cookie: citemark=\\x; ;=
Upgrade: h2c|traceparent: 00-0-0-0""".replace("\n", "|").split("|")
CHANGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: body[: len(body) // 2],
    lambda body: body.replace(b":", b"::", 1),
    lambda body: body + body,
    lambda body: b"\xef\xbb\xbf" + body,
    lambda body: body.decode().encode("utf-16"),
    lambda body: b"\xff" + body,
    lambda body: body.replace(b"0", b"1e999").replace(b"1", b"-0"),
    lambda body: gzip.compress(body)[:-4],
    lambda body: b"[" * len(body),
    lambda _: b"",
)


def change(value: Any, dice: random.Random) -> Any:
    """The value with something odd in one place of it, or as a whole."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.1:
        return dice.choice(ODD)
    key = dice.choice([*value] if isinstance(value, dict) else range(len(value)))
    if isinstance(value, list):
        return [*value[:key], change(value[key], dice), *value[key + dice.randrange(2) :]]
    return value | {dice.choice([key, key, key, f"{key}s"]): change(value[key], dice)}


def examples(operation: dict[str, Any]) -> Iterator[Any]:
    """The bodies that the documentation shows; of lines, the first."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for shown in content.get("examples", {"": {"value": content.get("example")}}).values():
            value = shown["value"]
            yield json.loads(value.splitlines()[0]) if isinstance(value, str) else value


def write_request(path: str, method: str, operation: dict[str, Any], dice: random.Random) -> bytes:
    body = b""
    if known := [*examples(operation)]:
        value = dice.choice(known)
        for _ in range(dice.randrange(3)):
            value = change(value, dice)
        body = json.dumps(value).encode()
    if dice.random() < 0.3:
        body = dice.choice(CHANGES)(body)
    names = ["%", *(each["name"] for each in operation.get("parameters", ()))]
    some = dice.choice([0, 0, 1, 3])
    query = "&".join(f"{dice.choice(names)}={dice.choice(VALUES)}" for _ in range(some))
    if dice.random() < 0.1:
        method = dice.choice(METHODS)
    if dice.random() < 0.05:
        path = dice.choice(["/{}", "{}/", "/t/x{}", "{}%2f..", "http://h{}"]).format(path)
    lines = [f"{method} {path}?{query} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Content-Length: {len(body)}", *dice.sample(HEADERS, dice.choice([0, 0, 0, 1, 2]))]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def send(address: tuple[str, int], request: bytes, dice: random.Random) -> str:
    """The status, or nothing where the connection ends without one."""
    cut, answer = dice.choice([len(request), len(request), dice.randrange(len(request))]), b""
    with (
        socket.create_connection(address, timeout=PATIENCE_S) as connection,
        suppress(ConnectionError),
    ):
        connection.sendall(request[:cut])
        if cut < len(request) and dice.random() < 0.5:
            return ""  # leave in the middle
        time.sleep(dice.choice([0, 0.05]))
        connection.sendall(request[cut:])
        while piece := connection.recv(65536):
            answer += piece
    return answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")[9:12].decode()


def test_no_request_is_a_defect_and_none_holds_up_the_others(tmp_path, record_property):
    limits = {"header_timeout_s": 1, "body_timeout_s": 1, "body_deadline_s": 2, "stream_idle_s": 1}
    judge = ScriptedJudge(by_shape(quote="It is", V=1, S=1, U=1, C=1, F=1))
    named = {"judge": "vllm", "judge_model": MODEL, "test_program_route": True}
    defects, waits = list[tuple[str, bytes]](), [0.0]
    with (
        running_judge(judge),
        service_process(tmp_path, judge_url=judge.url, **named, **limits) as service,
        ThreadPoolExecutor(9) as pool,
    ):
        url = service.client.base_url
        paths = service.client.get("/openapi.json").json()["paths"]
        routes = [(p, m.upper(), doc) for p, each in paths.items() for m, doc in each.items()]
        routes += [(page, "GET", {}) for page in PAGES]

        def attack(seed: int) -> str:
            dice = random.Random(seed)
            request = write_request(*routes[seed % len(routes)], dice)
            status = send((url.host, url.port or 0), request, dice)
            if status >= "5" and status != "503":
                defects.append((status, request))
            return status

        attacks = [pool.submit(attack, seed) for seed in range(REQUESTS)]
        while not all(each.done() for each in attacks):
            start = time.monotonic()
            assert service.client.get("/healthz").status_code == 200
            waits.append(time.monotonic() - start)
            time.sleep(0.01)
        statuses = Counter(each.result() for each in attacks)
        log = service.log
    record_property("figures", f"{statuses}; /healthz waited {1000 * max(waits):.0f} ms at most")
    assert defects == []
    assert "Traceback" not in log
