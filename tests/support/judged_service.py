"""The real service before a scripted judge, for clients of any kind, other processes too."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from anyio.from_thread import start_blocking_portal

from support.scripted_judge import Answer, Hang, Script, ScriptedJudge
from support.scripted_service import listening, real_app
from support.step_rollouts import by_content

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
        self.judge: ScriptedJudge | None = None

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
        assert self.judge is not None
        self._deaths.append(asyncio.get_running_loop().create_task(self.judge.refuse()))


@dataclass(frozen=True)
class Judged:
    url: str
    judge: ScriptedJudge

    def rewards(self, rollouts: Sequence[dict[str, Any]]) -> list[float]:
        """What `/v1/score` gives the rollouts; every one is judged."""
        body = {"items": list(rollouts)}
        reply = httpx.post(f"{self.url}/v1/score", json=body, timeout=60.0, trust_env=False)
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
    if isinstance(script, Mortal):
        script.judge = judge
    with running_judge(judge):  # its URL is known from here on
        given = {
            "judge_concurrency": 1024,
            "judge_attempts": 2,
            "judge_deadline_s": 30.0,
            "nonce_secret": "one for all, so that services judge alike",
            **settings,
        }
        with listening(real_app(judge.settings(**given))) as url:
            yield Judged(url, judge)
