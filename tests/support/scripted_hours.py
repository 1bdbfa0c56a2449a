"""Four hours of a training run in seconds: the real service, a scripted judge, a scripted clock.

Every thirty scripted seconds a few rollouts are scored over a real socket and `/metrics` is read.
In its course everything goes wrong that an alert tells of. Lengths are of whole minutes.
"""

import asyncio
import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from citemark_service.examination import start_probe
from citemark_service.ledger.ledger import ledger_of
from citemark_service.telemetry.metrics import Metrics
from support.dialect_bodies import for_openrlhf
from support.judge_tasks import filled, shape_of
from support.scripted_judge import Answer, Listed, Reply, ScriptedJudge, Status
from support.scripted_service import async_client_of, real_app

STEP_S = 30
MINUTES = 240
_SAMPLES = 5
_HELD_S = 6.0
_MARK = re.compile(r"Mark (\d)\.")

# Gauges that were recorded at rest.
_BUSY = {"num_requests_running": 8, "num_requests_waiting": 3, "kv_cache_usage_perc": 0.4}

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
    foreign = "" if number % 10 else " [2]"  # a citation in another notation, for a warning
    return {
        "id": str(number),
        "question": f"How long is bridge {number // _SAMPLES}?",
        "tool_output": f"<snippet id=a>Bridge {number // _SAMPLES} is 90 metres long.</snippet>",
        "response": f"<answer>Mark {mark}. {padding}Sample {number}{foreign}. "
        f"<snippet id=a>Bridge {number} is 90 metres long.</snippet></answer>",
        "positive_rubrics": [f"Says thing {each}." for each in range(6)],
    }


@dataclass
class Hours:
    """The run, which ends half a minute before it is played."""

    folder: Path
    """For the service's ledger."""
    recording: str
    """An exposition of a vLLM, whose counters grow by as much with each step."""
    start: float = field(default_factory=lambda: time.time() - MINUTES * 60 - STEP_S)
    exposition: list[str] = field(default_factory=list)
    """What a Prometheus would have scraped, as lines of OpenMetrics."""
    url: str = ""
    _minute: int = 0
    _number: int = 0
    _metrics: Metrics = field(default_factory=Metrics)

    @property
    def end(self) -> float:
        return self.start + MINUTES * 60

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Play everything; inside, the service answers."""
        metrics = self._metrics
        async with ScriptedJudge(self._judge) as judge:
            settings = judge.settings(
                judge_concurrency=4,
                judge_attempts=2,
                judge_deadline_s=3 * _HELD_S,
                ledger=f"sqlite:///{self.folder / 'ledger.db'}",
                nonce_secret="the same in every run",
            )
            probe, ledger = start_probe(settings, metrics), ledger_of(settings, metrics)
            app = real_app(settings, metrics, beside=probe, ledger=ledger)
            async with async_client_of(app) as client:
                self.url = str(client.base_url).rstrip("/")
                await self._play(judge, client)
                yield

    def _judge(self, request: dict[str, Any]) -> Answer:
        if self._minute in _FAILING:
            return Status(400, "scripted: too long")
        marks = _MARK.findall(request["messages"][-1]["content"]) or ["1"]
        digit = int(marks[-1])
        content = filled(shape_of(request), V=digit, S=digit, U=1, C=1)
        cached = 5 if self._minute in _UNCACHED else 70
        delay_s = _HELD_S if self._minute in _QUEUED else 0.0
        tokens = tuple(map(_list_token, content))
        return Reply(content, tokens=tokens, cached_tokens=cached, delay_s=delay_s)

    async def _play(self, judge: ScriptedJudge, client: httpx.AsyncClient) -> None:
        down = broken = False
        async with asyncio.TaskGroup() as held:
            for step in range(MINUTES * 60 // STEP_S + 1):
                minute = self._minute = step * STEP_S // 60
                if minute in _STORES_BREAK:
                    # Stores of verdicts that break, and ledgers that lose, have tests of their own.
                    self._metrics.cache_errors["write"].inc()
                    self._metrics.ledger_rollouts["lost"].inc()
                if broken != (minute in _STORES_BREAK):
                    broken = not broken
                    self._rename_table(*("rollouts", "away") if broken else ("away", "rollouts"))
                if down != (minute in _DOWN):
                    down = not down
                    await (judge.refuse() if down else judge.listen())
                    if down:
                        await self._score(client)  # until it is seen to be away
                if minute in _QUEUED:
                    held.create_task(self._score(client))
                    await asyncio.sleep(0.02)
                elif not down:
                    await self._score(client)
                text = (await client.get("/metrics")).text
                grown = _grown(self.recording, step, max(0, minute - _PREEMPTED[0]) * 100)
                for job, scraped in (("citemark", text), ("vllm", grown)):
                    self._note(step, scraped, f'job="{job}",instance="{job}:8000"')
            self._minute = MINUTES + 60

    def _rename_table(self, old: str, new: str) -> None:
        with closing(sqlite3.connect(self.folder / "ledger.db")) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async def _score(self, client: httpx.AsyncClient) -> None:
        items = [self._next_rollout() for _ in range(_SAMPLES)]
        if self._minute in _REFUSED:
            items += [{**item, "response": "I do not know."} for item in items + items]
        is_queued = self._minute in _QUEUED
        (await client.post("/v1/score", json={"items": items})).raise_for_status()
        if self._minute % 10 == 0 and not is_queued:
            body = for_openrlhf(self._next_rollout())
            (await client.post("/get_reward", json=body)).raise_for_status()
            await client.post("/get_reward", json={"query": 1})

    def _next_rollout(self) -> dict[str, Any]:
        self._number += 1
        draw = self._number * 7 % 9
        if self._minute in _COLLAPSED:
            return _rollout(self._number, 1, 10)
        if self._minute in _LONG_PAYS:
            return _rollout(self._number, 1 + draw % 2, 10 + 40 * (draw % 2))
        return _rollout(self._number, draw % 3, 5 + draw // 3 * 5)

    def _note(self, step: int, text: str, labels: str) -> None:
        """Keep what one scrape found, with what Prometheus itself adds."""
        at = f"{self.start + step * STEP_S:.3f}"
        is_up = step * STEP_S // 60 != MINUTES - 1
        self.exposition.append(f"up{{{labels}}} {int(is_up)} {at}")
        for line in text.splitlines():
            if line and not re.match(r"#|\w+_created\b", line):
                series, _, value = line.rpartition(" ")
                name, brace, own = series.partition("{")
                own = own.removesuffix("}") + "," if brace else ""
                self.exposition.append(f"{name}{{{own}{labels}}} {value} {at}")


def _list_token(character: str) -> Listed:
    """Of a digit the judge is nearly sure."""
    other = "0" if character == "1" else "1"
    listed = ((character, -0.005), (other, -5.3)) if character.isdigit() else ()
    return Listed(character, -0.005, listed)


def _grown(recording: str, step: int, preempted: int) -> str:
    """The recording after so many times what it counted."""
    lines, kind = [], ""
    for line in recording.splitlines():
        if line.startswith("# TYPE "):
            kind = line.rsplit(" ", 1)[1]
        elif not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            name = series.partition("{")[0].removeprefix("vllm:")
            factor = 1 if kind == "gauge" else step
            extra = preempted if name == "num_preemptions_total" else _BUSY.get(name, 0)
            lines.append(f"{series} {float(value) * factor + extra}")
    return "\n".join(lines)
