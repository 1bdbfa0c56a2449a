"""What one hostile request costs the others: how long they wait beside it, and memory."""

import gzip
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from processes import Service, running_service, scripted_judge
from report import Line
from support.odd_requests import routes_of, send, write_request

PROBE_MS: Final = 200.0
HONEST_MS: Final = 2000.0
MEMORY_RATIO: Final = 8.0
_MIB: Final = 1024 * 1024
_PATIENCE_S: Final = 120.0
_ODD_REQUESTS: Final = 4000
_TESTS: Final = Path(__file__).parents[1] / "tests"
_TEXT: Final = b"It opened in 1963.\\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """A body and where it is posted, `times` at once."""

    name: str
    path: str
    body: Callable[[], bytes]
    times: int = 1
    coding: str = "identity"


@dataclass(frozen=True, slots=True)
class Harm:
    """What an attack did; waits are the longest of any request beside it."""

    answers: tuple[str, ...]
    seconds: float
    probe_ms: float
    """Of `/healthz`."""
    honest_ms: float
    """Of another caller's rollout, long enough to be parsed off the event loop."""
    grown_mib: float
    """By what the service's memory grew at its peak."""


def _many(item: bytes, mib: float) -> bytes:
    return b"[" + b",".join([item] * (int(mib * _MIB) // (len(item) + 1))) + b"]"


def _rollout(field: str, value: bytes, response: bytes = b"<answer>a</answer>") -> bytes:
    given = {"question": b'"q"', "tool_output": b'""', "response": b'"' + response + b'"'}
    pairs = (b'"%b":%b' % (k.encode(), v) for k, v in (given | {field: value}).items())
    return b"{" + b",".join(pairs) + b"}"


def _after_nan(items: bytes) -> bytes:
    return b"[NaN," + items[1:]


def _answer(text: bytes) -> bytes:
    return _rollout("id", b'"i"', b"<answer>" + text + b"</answer>")


def _queries(*items: bytes) -> bytes:
    return b'{"query":' + b',"prompts":'.join(items) + b"}"


def _label(value: bytes) -> bytes:
    row = _rollout("rubrics", value).decode()
    return json.dumps({"query": ["pa"], "prompts": ["p"], "labels": [row]}).encode()


def _items(items: bytes) -> bytes:
    return b'{"items":' + items + b"}"


_LONG: Final = b'"p ' + _TEXT * 3000 + b'"'
_KEYS: Final = b",".join(b'"key%d":"v"' % n for n in range(40_000))
_ROW: Final = b'{"_ng_task_index":1,"reward":0.5,"text":"%b"}' % (b"a" * 90)
_LISTS: Final = b"[]" + b" " * 40
_TEXTS: Final = b'"It says so."'
_CLAIM: Final = b"<snippet id=a>It is 3.</snippet>"
_ATTACKS: Final[tuple[tuple[str, str, Callable[[], bytes]], ...]] = (
    (
        "a rubric of 40,000 keys",
        "/v1/score",
        lambda: _rollout("rubrics", b'[{"description":"d",' + _KEYS + b"}]"),
    ),
    ("60 MB of zeros", "/v1/score", lambda: _items(_many(b"0", 60))),
    ("60 MB of padded zeros", "/v1/score", lambda: _items(_many(b"0       ", 60))),
    ("60 MB of lists", "/v1/score", lambda: _items(_many(b"[]", 60))),
    ("60 MB of items", "/v1/score", lambda: _items(_many(_rollout("tool_output", _LONG), 58))),
    ("10 MB of zeros after NaN", "/get_reward", lambda: _queries(_after_nan(_many(b"0", 10)))),
    ("10 MB of lists after NaN", "/get_reward", lambda: _queries(_after_nan(_many(_LISTS, 10)))),
    ("60 MB of queries", "/get_reward", lambda: _queries(_many(_LONG, 30), _many(_LONG, 30))),
    ("100,000 rubrics", "/v1/score", lambda: _rollout("rubrics", _many(_TEXTS, 1.35))),
    ("100,000 rubrics as text", "/get_reward", lambda: _label(_many(_TEXTS, 1.35))),
    ("4 MB of snippets", "/v1/score", lambda: _rollout("snippets", _many(b"0" + b" " * 20, 3.9))),
    ("4 MB of claims", "/v1/score", lambda: _answer(_CLAIM * 120_000)),
    ("4 MB of ligatures", "/v1/score", lambda: _answer("\ufdfa".encode() * 1_300_000)),
)
ATTACKS: Final = (
    *(Attack(name, path, body) for name, path, body in _ATTACKS),
    Attack(
        "64 MB out of 64 kB", "/v1/score", lambda: gzip.compress(b" " * 64 * _MIB), coding="gzip"
    ),
    Attack(
        "statistics of 6 x 17 MB",
        "/aggregate_metrics",
        lambda: b'{"verify_responses":' + _many(_ROW, 17) + b"}",
        times=6,
    ),
)


def lines(attack: Attack) -> Iterator[Line]:
    """Waits beside the attack, and memory where it is large."""
    body = attack.body()
    harm, sent = measure(attack, body), len(body) * attack.times / _MIB
    note = f"{sent:.1f} MiB, {', '.join(harm.answers)} after {harm.seconds:.1f} s"
    yield Line(f"{attack.name}: probe, ms", harm.probe_ms, PROBE_MS, note=note)
    yield Line("  another's rollout, ms", harm.honest_ms, HONEST_MS)
    if sent > 1:
        yield Line("  memory over bytes sent", harm.grown_mib / sent, MEMORY_RATIO)


def odd_lines() -> Iterator[Line]:
    """Waits beside odd requests to every route, from four callers at once."""
    routes = routes_of(json.loads((_TESTS / "contract" / "openapi.json").read_text()))
    fast = {"header_timeout_s": 1, "body_timeout_s": 1, "body_deadline_s": 2, "stream_idle_s": 1}
    with scripted_judge() as judge, running_service(judge, **fast) as service:
        host, _, port = urlsplit(service.url).netloc.partition(":")
        statuses = Counter[str]()

        def attack(first: int) -> None:
            for seed in range(first, _ODD_REQUESTS, 4):
                dice = random.Random(seed)
                request = write_request(routes[seed % len(routes)], dice)
                statuses[send((host, int(port)), request, dice) or "none"] += 1

        threads = [threading.Thread(target=attack, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        probe_ms = _worst_ms(partial(_ask, service, "/healthz"), threads)
    note = ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
    yield Line(f"{_ODD_REQUESTS} odd requests: probe, ms", probe_ms, PROBE_MS, note=note)


def measure(attack: Attack, body: bytes) -> Harm:
    """The attack on a service of its own, so that no freed memory is used again."""
    honest = _rollout("tool_output", b'"<snippet id=a>' + _TEXT * 8000 + b'</snippet>"')
    with scripted_judge() as judge, running_service(judge) as service:
        score = partial(_ask, service, "/v1/score", honest, caller="another")
        for _ in range(5):  # what the first requests load is nobody's harm
            score()
        before, answers, waits = service.rss_mb(), list[str](), list[float]()
        post = partial(_ask, service, attack.path, body, coding=attack.coding)
        attackers = [
            threading.Thread(target=lambda: answers.append(post())) for _ in range(attack.times)
        ]
        start = time.monotonic()
        for thread in attackers:
            thread.start()
        beside = threading.Thread(target=lambda: waits.append(_worst_ms(score, attackers)))
        beside.start()
        probe_ms = _worst_ms(partial(_ask, service, "/healthz"), attackers)
        seconds = time.monotonic() - start
        beside.join()
        grown = service.peak_rss_mb() - before
    return Harm(tuple(dict.fromkeys(answers)), seconds, probe_ms, waits[0], grown)


def _worst_ms(ask: Callable[[], str], beside: list[threading.Thread]) -> float:
    """The longest that `ask` took while one of the threads ran."""
    worst = 0.0
    while any(thread.is_alive() for thread in beside):
        start = time.monotonic()
        ask()
        worst = max(worst, time.monotonic() - start)
        time.sleep(0.01)
    return 1000 * worst


def _ask(
    service: Service,
    path: str,
    body: bytes | None = None,
    *,
    coding: str = "identity",
    caller: str = "attacker",
) -> str:
    """The status, or what went wrong."""
    host, headers = urlsplit(service.url).netloc, {"x-citemark-caller": caller}
    with closing(http.client.HTTPConnection(host, timeout=_PATIENCE_S)) as connection:
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, {**headers, "content-encoding": coding})
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
