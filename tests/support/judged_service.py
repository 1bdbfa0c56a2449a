"""The real service on a real socket, before a scripted judge on another, for clients of any kind.

    with judged_service(by_content()) as judged:
        ...  # judged.url is the service; judged.judge counts what it was asked

Both run in threads, so that what drives them may block, or be another process.
"""

import asyncio
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from citemark_rubrics import load_library
from citemark_service.app import create_app
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.factory import cache_verdicts
from support.scripted_judge import MODEL, Answer, Hang, Script, ScriptedJudge
from support.scripted_service import listening
from support.step_rollouts import by_content

_PATIENCE_S = 60.0
_SAMPLE = re.compile(r"This is sample (\d+)\.")


class Mortal:
    """A judge that is killed in the middle of a step.

    It answers for the first `judged` samples of each group by their content and keeps the others
    waiting; when it did both and nothing more has been asked for a while, it dies with all that
    waits, for good.
    """

    def __init__(self, *, judged: int, idle_s: float = 3.0) -> None:
        self._judged = judged
        self._idle_s = idle_s
        self._answer = by_content()
        self._answered = self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._deaths: list[asyncio.Task[None]] = []
        self._judge: ScriptedJudge | None = None

    def attach(self, judge: ScriptedJudge) -> None:
        """Say whose life it is."""
        self._judge = judge

    def __call__(self, request: dict[str, Any]) -> Answer:
        found = _SAMPLE.search(request["messages"][-1]["content"])
        assert found, "the judge was shown no response of the step"
        answers = int(found[1]) < self._judged
        self._answered += answers
        self._held += not answers
        if self._timer is not None:
            self._timer.cancel()
        # A busy machine may pause for longer before the first group is here; two calls a sample.
        if self._held and self._answered >= 2 * self._judged:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._die)
        return self._answer(request) if answers else Hang()

    def _die(self) -> None:
        assert self._judge is not None
        self._deaths.append(asyncio.get_running_loop().create_task(self._judge.refuse()))


@dataclass(frozen=True)
class Judged:
    """A running service and its judge."""

    url: str
    judge: ScriptedJudge

    def results(self, rollouts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What `/v1/score` says of the rollouts."""
        body = {"items": list(rollouts)}
        reply = httpx.post(f"{self.url}/v1/score", json=body, timeout=_PATIENCE_S, trust_env=False)
        items: list[dict[str, Any]] = reply.raise_for_status().json()["items"]
        return items

    def rewards(self, rollouts: Sequence[dict[str, Any]]) -> list[float]:
        """Their rewards; every one is judged."""
        return [float(item["reward"]) for item in self.results(rollouts)]


@contextmanager
def running_judge(judge: ScriptedJudge) -> Iterator[None]:
    """Let the judge answer, in a thread, while the context lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(judge.listen(), loop).result(_PATIENCE_S)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(judge.refuse(), loop).result(_PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)
        loop.close()


@contextmanager
def judged_service(script: Script | Mortal, **settings: Any) -> Iterator[Judged]:
    """The service with those settings, judged by the script."""
    judge = ScriptedJudge(script)
    if isinstance(script, Mortal):
        script.attach(judge)
    with running_judge(judge):
        table = Settings(
            **{
                "judge": "vllm",
                "judge_url": judge.url,
                "judge_model": MODEL,
                "judge_concurrency": 1024,
                "judge_attempts": 2,
                "judge_deadline_s": 30.0,
                "nonce_secret": "one for all, so that services judge alike",
                **settings,
            }
        )
        metrics = Metrics()
        remembered = cache_verdicts(build_judge(table, metrics), table, metrics)
        app = create_app(settings=table, judge=remembered, library=load_library())
        listener = socket.create_server(("127.0.0.1", 0))
        with listening(app, listener):
            yield Judged(f"http://127.0.0.1:{listener.getsockname()[1]}", judge)


def calls_for(rollouts: Sequence[dict[str, Any]]) -> int:
    """How often the judge is asked when each of the rollouts is judged once."""
    with judged_service(by_content()) as judged:
        judged.rewards(rollouts)
        return judged.judge.calls
