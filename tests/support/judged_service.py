"""The real service before a scripted judge, for clients of any kind, other processes too."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from anyio.from_thread import start_blocking_portal

from citemark_service.judges.tasks import Judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import cache_verdicts
from support.readable_metrics import ReadableMetrics
from support.scripted_judge import MODEL, Answer, Hang, Script, ScriptedJudge
from support.scripted_service import async_client_of, listening, real_app
from support.step_rollouts import CALLS, by_content

_ROLLOUT = re.compile(r"long is bridge (\d+),.*This is sample (\d+)\.", re.DOTALL)


class Mortal:
    """A judge that is killed in the middle of a step.

    It answers for the first `judged` samples of each group by their content and keeps the others
    waiting. Once `shown` rollouts of the step came, some of them wait and the others are scored,
    it dies with all that waits, for good.
    """

    def __init__(self, *, judged: int, shown: int) -> None:
        self._judged = judged
        self._shown = shown
        self._answer = by_content()
        self._calls = Counter[tuple[str, int]]()
        self._death: asyncio.Task[None] | None = None
        self.judge: ScriptedJudge | None = None
        self.metrics = ReadableMetrics()
        """Of the service."""

    def __call__(self, request: dict[str, Any]) -> Answer:
        found = _ROLLOUT.search(request["messages"][-1]["content"])
        assert found, "the judge was shown no rollout of the step"
        group, sample = found[1], int(found[2])
        self._calls[group, sample] += 1
        finished = [
            calls >= CALLS for (_, each), calls in self._calls.items() if each < self._judged
        ]
        shown = len(self._calls)
        if shown >= self._shown and 0 < len(finished) < shown and all(finished):
            self._death = self._death or asyncio.create_task(self._die(sum(finished)))
        return self._answer(request) if sample < self._judged else Hang()

    async def _die(self, scored: int) -> None:
        assert self.judge is not None
        async with asyncio.timeout(120):
            while self.metrics.total("rollouts_total", outcome="scored") < scored:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await self.judge.refuse()


@dataclass(frozen=True)
class Judged:
    url: str
    judge: ScriptedJudge

    def rewards(self, rollouts: Sequence[dict[str, Any]]) -> list[float]:
        """What `/v1/score` gives the rollouts; every one is judged."""
        body = {"items": list(rollouts)}
        reply = httpx.post(f"{self.url}/v1/score", json=body, timeout=120.0, trust_env=False)
        return [float(item["reward"]) for item in reply.raise_for_status().json()["items"]]


@contextmanager
def running_judge(judge: ScriptedJudge) -> Iterator[None]:
    """Let the judge answer, in a thread, while the context lasts."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(judge):
        yield


@contextmanager
def judged_service(script: Script | Mortal, **settings: Any) -> Iterator[Judged]:
    """The service with those settings, judged by the script; both in threads of their own."""
    judge = ScriptedJudge(script)
    metrics = script.metrics if isinstance(script, Mortal) else None
    if isinstance(script, Mortal):
        script.judge = judge
    with running_judge(judge):  # its URL is known from here on
        given = {
            "judge_concurrency": 1024,
            "judge_attempts": 2,
            "judge_deadline_s": 300.0,
            "judge_timeout_s": 300.0,
            "nonce_secret": "one for all, so that services judge alike",
            **settings,
        }
        with listening(real_app(judge.settings(**given), metrics)) as url:
            yield Judged(url, judge)


@asynccontextmanager
async def asked_service(
    *judges: ScriptedJudge,
    metrics: Metrics | None = None,
    in_process: Judge | None = None,
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service, in a thread, that asks `judges`, or one `in_process`, cached."""
    urls = tuple(each.url for each in judges) or ("http://unused/v1",)
    server = {"judge": "vllm", "judge_urls": urls, "judge_model": MODEL}
    fixed = {**server, "evidence_quotes": False, "nonce_secret": "one for all"}
    table, metrics = Settings(**{**fixed, **settings}), metrics or Metrics()
    cached = in_process and cache_verdicts(in_process, table, metrics)
    async with async_client_of(real_app(table, metrics, judge=cached)) as client:
        yield client
