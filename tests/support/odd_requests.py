"""Requests to any route that are odd in method, path, query, headers, JSON, bytes or timing."""

import gzip
import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from support.hostile_rollouts import PAYLOADS
from support.running_service import PATIENCE_S

Route = tuple[str, str, dict[str, Any]]
# fmt: off
PAGES = ("/ui/rollout?n", "/ui/judge?n", "/ui/run?run,show,before", "/ui/step?run,step,sort", "*",
         "/ui/group?run,step,group", "/ui/score", "/ui/login?to", "/docs", "/%00", "/ui/")
"""What the API's description leaves out, with the names in the queries."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "%")
ODD: tuple[Any, ...] = (
    *PAYLOADS, "", "\0", "\ud800", "x" * 9000, "\ufdfa" * 900, "1e999", "[" * 900, "-1", "<answer>",
    None, True, 0, -1, 2**70, 10**300, 0.5, float("nan"), float("-inf"), [], {}, [[]], {"": {}},
    [None] * 500, [{}] * 500, json.loads("[" * 400 + "]" * 400),
)
VALUES = ("", "nan", "-1", "1e999", "0", "true", "%00", "%ff", "%", "null", "mask", "scalar",
          "\xff", "worst", "1", "7", "20", "60")
HEADERS = (
    "Content-Type: text/plain", "Content-Type:", "Content-Type: application/json; charset=utf-16",
    "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: gzip, gzip", "\0: x",
    "Content-Length: 3", "Content-Length: 99999999999", "Content-Length: -1", "Upgrade: h2c",
    "Transfer-Encoding: chunked", "Expect: 100-continue", "Host: evil", "Origin: https://evil",
    "X-Citemark-Caller: \xff", "X-Forwarded-For: ,%s", "Cookie: citemark=\\x; ;=", "Origin: null",
    "Authorization: Bearer \xff", "X-Request-ID: a b", "traceparent: 00-0-0-0",
)
# fmt: on
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
    odd = value | {key: change(value[key], dice)}
    if dice.random() < 0.2:  # under a name that nobody knows
        odd[f"{key}s"] = odd.pop(key)
    return odd


def examples(operation: dict[str, Any]) -> Iterator[Any]:
    """The bodies that the documentation shows; of lines, the first."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for shown in content.get("examples", {"": {"value": content.get("example")}}).values():
            value = shown["value"]
            yield json.loads(value.splitlines()[0]) if isinstance(value, str) else value


def routes_of(document: dict[str, Any]) -> list[Route]:
    """Path, method and description of each page and operation; three times those with a body."""
    paths = document["paths"].items()
    routes = [(path, name.upper(), doc) for path, each in paths for name, doc in each.items()]
    routes += 2 * [route for route in routes if "requestBody" in route[2]]
    for path, _, names in (page.partition("?") for page in PAGES):
        parameters = [{"name": name} for name in names.split(",")]
        routes.append((path, "GET", {"parameters": parameters}))
    return routes


def write_request(route: Route, dice: random.Random) -> bytes:
    """Any request to the route, most of them odd."""
    path, method, operation = route
    body = b""
    if known := [*examples(operation)]:
        value = dice.choice(known)
        for _ in range(dice.choice([0, 1, 1, 2, 3])):
            value = change(value, dice)
        body = json.dumps(value).encode()
    if dice.random() < 0.1:
        body = dice.choice(CHANGES)(body)
    names = ["%", *(each["name"] for each in operation.get("parameters", ()))]
    some = dice.choice([0, 0, 0, 1, 3])
    query = "&".join(f"{dice.choice(names)}={dice.choice(VALUES)}" for _ in range(some))
    if dice.random() < 0.1:
        method = dice.choice(METHODS)
    if dice.random() < 0.05:
        path = dice.choice(["/{}", "{}/", "/t/x{}", "{}%2f..", "http://h{}"]).format(path)
    lines = [f"{method} {path}?{query} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [
        f"Content-Length: {len(body)}",
        *dice.sample(HEADERS, dice.choice([0, 0, 0, 0, 1, 2])),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def send(address: tuple[str, int], request: bytes, dice: random.Random) -> str:
    """The status, or nothing where the connection ends without one."""
    cut, answer = dice.choice([*[len(request)] * 5, dice.randrange(len(request))]), b""
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
