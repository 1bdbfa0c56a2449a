"""Four hours of a training run in seconds: the real service, a scripted judge, a scripted clock.

    hours = Hours(folder, recording)
    async with hours.playing():
        hours.exposition  # what a Prometheus would have scraped, as lines of OpenMetrics

Every thirty scripted seconds a few rollouts are scored over a real socket and `/metrics` is read.
In its course everything goes wrong that an alert tells of. Lengths are of whole minutes.
"""

import asyncio
import re
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from citemark_rubrics import load_library
from citemark_service.app import create_app
from citemark_service.examination.server import start_probe
from citemark_service.judges.factory import build_judge
from citemark_service.ledger.ledger import ledger_of
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.factory import cache_verdicts
from support.dialect_bodies import for_openrlhf
from support.judge_tasks import filled, shape_of
from support.scripted_judge import MODEL, Answer, Reply, ScriptedJudge, Status
from support.scripted_service import listening

STEP_S: Final = 30
MINUTES: Final = 240
_SAMPLES: Final = 5
_SLOTS: Final = 4
_HELD_S: Final = 6.0
_PATIENCE_S: Final = 60.0
_MARK: Final = re.compile(r"Mark (\d)\.")

_BUSY: Final = {
    "vllm:num_requests_running": 8,
    "vllm:num_requests_waiting": 3,
    "vllm:kv_cache_usage_perc": 0.4,
}
"""Gauges that were recorded at rest."""

_COLLAPSED = range(60, 95)
_UNCACHED = range(62, 130)
_FAILING = range(100, 110)
_DOWN = range(114, 117)
_STORES_BREAK = range(118, 126)
_LONG_PAYS = range(130, 205)
_REFUSED = range(205, 220)
_QUEUED = range(222, 242)
_PREEMPTED = range(200, 240)


def _rollout(number: int, mark: int, words: int) -> dict[str, Any]:
    """A sample whose verdicts are its mark, which its first sentence names."""
    padding = "On and on it goes. " * words
    return {
        "id": str(number),
        "question": f"How long is bridge {number // _SAMPLES}?",
        "tool_output": f"<snippet id=a>Bridge {number // _SAMPLES} is 90 metres long.</snippet>",
        "response": f"<answer>Mark {mark}. {padding}Sample {number}. "
        f"<snippet id=a>Bridge {number} is 90 metres long.</snippet></answer>",
        "positive_rubrics": [f"Says thing {each}." for each in range(6)],
    }


class _Verdicts:
    """The judge's script, which changes with the time."""

    def __init__(self) -> None:
        self.minute = 0

    def __call__(self, request: dict[str, Any]) -> Answer:
        if self.minute in _FAILING:
            return Status(400, "scripted: too long")
        marks = _MARK.findall(request["messages"][-1]["content"]) or ["1"]
        digit = int(marks[-1])
        content = filled(shape_of(request), V=digit, S=digit, U=1, C=1)
        cached = 5 if self.minute in _UNCACHED else 70
        delay_s = _HELD_S if self.minute in _QUEUED else 0.0
        return Reply(content, cached_tokens=cached, delay_s=delay_s)


@dataclass
class Hours:
    """The run. It ends half a minute ago."""

    folder: Path
    """For the service's ledger."""
    recording: str
    """An exposition of a vLLM, whose counters grow by as much with each step."""
    start: float = field(default_factory=lambda: time.time() - MINUTES * 60 - STEP_S)
    exposition: list[str] = field(default_factory=list)
    url: str = ""
    """The service, which goes on until `playing` is left."""

    @property
    def end(self) -> float:
        """When the last sample was taken."""
        return self.start + MINUTES * 60

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Play everything; inside, the service answers."""
        script, metrics = _Verdicts(), Metrics()
        async with ScriptedJudge(script) as judge:
            settings = _settings(judge.url, self.folder)
            listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            app = create_app(
                settings=settings,
                judge=cache_verdicts(build_judge(settings, metrics), settings, metrics),
                library=load_library(),
                metrics=metrics,
                beside=start_probe(settings, metrics),
                ledger=ledger_of(settings, metrics),
            )
            with listening(app, listener):
                options: dict[str, Any] = {"timeout": _PATIENCE_S, "trust_env": False}
                async with httpx.AsyncClient(base_url=self.url, **options) as client:
                    await _Play(self, script, metrics, judge, client).whole()
                yield

    def sample(self, minute: float, text: str, job: str, instance: str, *, up: bool) -> None:
        """Note what one scrape found, with what Prometheus itself adds."""
        at = self.start + minute * 60
        labels = f'job="{job}",instance="{instance}"'
        self.exposition.append(f"up{{{labels}}} {int(up)} {at:.3f}")
        self.exposition += (_stamped(line, labels, at) for line in _samples(text))


@dataclass
class _Play:
    """One playing of the hours: the actors, and what the next rollout is."""

    hours: Hours
    script: _Verdicts
    metrics: Metrics
    judge: ScriptedJudge
    client: httpx.AsyncClient
    number: int = 0
    down: bool = False
    broken: bool = False
    held: list[asyncio.Task[None]] = field(default_factory=list)

    async def whole(self) -> None:
        """From the first scrape to the last."""
        for step in range(MINUTES * 60 // STEP_S + 1):
            minute = step * STEP_S // 60
            self.script.minute = minute
            await self._act(minute)
            await self._scrape(step)
        self.script.minute = MINUTES + 60
        await asyncio.gather(*self.held)

    async def _act(self, minute: int) -> None:
        if minute in _STORES_BREAK:
            # Stores of verdicts that break, and ledgers that lose, have tests of their own.
            self.metrics.cache_errors["write"].inc()
            self.metrics.ledger_rollouts["lost"].inc()
        if self.broken != (minute in _STORES_BREAK):
            self._toggle_ledger()
        if self.down != (minute in _DOWN):
            await self._toggle_judge(minute)
        if minute in _QUEUED:
            self.held.append(asyncio.create_task(self._score(minute)))
            await asyncio.sleep(0.02)
        elif not self.down:
            await self._score(minute)

    def _toggle_ledger(self) -> None:
        self.broken = not self.broken
        rename = "rollouts RENAME TO away" if self.broken else "away RENAME TO rollouts"
        with closing(sqlite3.connect(_ledger(self.hours.folder))) as connection:
            connection.execute(f"ALTER TABLE {rename}")

    async def _toggle_judge(self, minute: int) -> None:
        self.down = not self.down
        if self.down:
            await self.judge.refuse()
            await self._score(minute)  # until it is seen to be away
        else:
            await self.judge.listen()

    async def _score(self, minute: int) -> None:
        items = [self._next(minute) for _ in range(_SAMPLES)]
        if minute in _REFUSED:
            items += [{**item, "response": "I do not know."} for item in items + items]
        (await self.client.post("/v1/score", json={"items": items})).raise_for_status()
        if minute % 10 == 0 and minute not in _QUEUED:
            body = for_openrlhf(self._next(minute))
            (await self.client.post("/get_reward", json=body)).raise_for_status()
            await self.client.post("/get_reward", json={"query": 1})

    def _next(self, minute: int) -> dict[str, Any]:
        self.number += 1
        draw = self.number * 7 % 9
        if minute in _COLLAPSED:
            return _rollout(self.number, 1, 10)
        if minute in _LONG_PAYS:
            return _rollout(self.number, 1 + draw % 2, 10 + 40 * (draw % 2))
        return _rollout(self.number, draw % 3, 5 + draw // 3 * 5)

    async def _scrape(self, step: int) -> None:
        minute = step * STEP_S / 60
        text = (await self.client.get("/metrics")).text
        down = int(minute) == MINUTES - 1
        self.hours.sample(minute, text, "citemark", "citemark:8000", up=not down)
        preempted = max(0, int(minute) - _PREEMPTED[0]) * 100
        grown = _grown(self.hours.recording, step, preempted)
        self.hours.sample(minute, grown, "vllm", "vllm:8000", up=not down)


def _settings(judge_url: str, folder: Path) -> Settings:
    return Settings(
        judge="vllm",
        judge_url=judge_url,
        judge_model=MODEL,
        judge_concurrency=_SLOTS,
        judge_attempts=2,
        judge_deadline_s=3 * _HELD_S,
        ledger=f"sqlite:///{_ledger(folder)}",
        nonce_secret="the same in every run",
    )


def _ledger(folder: Path) -> Path:
    return folder / "ledger.db"


def _samples(text: str) -> Iterator[str]:
    """Lines of an exposition that Prometheus would keep."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return (line for line in lines if not re.match(r"\w+_created\b", line))


def _stamped(line: str, labels: str, at: float) -> str:
    series, _, value = line.rpartition(" ")
    name, brace, own = series.partition("{")
    own = own.removesuffix("}") + "," if brace else ""
    return f"{name}{{{own}{labels}}} {value} {at:.3f}"


def _grown(recording: str, step: int, preempted: int) -> str:
    """The recording after so many times what it counted."""
    lines, kind = [], ""
    for line in recording.splitlines():
        if line.startswith("# TYPE "):
            kind = line.rsplit(" ", 1)[1]
        elif not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0]
            factor = 1 if kind == "gauge" else step
            extra = preempted if name == "vllm:num_preemptions_total" else _BUSY.get(name, 0)
            lines.append(f"{series} {float(value) * factor + extra}")
    return "\n".join(lines)
