"""Thousands of rewards recomputed from their verdicts, while all around the service fails.

ROLLOUTS=20000 .venv/bin/pytest tests/harness/test_rewards.py --timeout 3600
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import httpx
import pytest

from citemark_schemas import FailureKind
from harness.judging import draw, judge_claim
from support.dialect_bodies import for_openrlhf, for_slime
from support.scripted_judge import MODEL
from support.scripted_service import free_url
from support.service_process import ServiceProcess
from support.waiting import until

ROLLOUTS = int(os.environ.get("ROLLOUTS", "1200"))
SAMPLES, CALLERS = 8, 24
BREAKS = (
    (0.1, "judge", signal.SIGKILL),
    (0.3, "service", signal.SIGTERM),
    (0.5, "judge", signal.SIGKILL),
    (0.7, "service", signal.SIGKILL),
)
"""After which share of the rollouts a process is stopped, to be started again at its address."""
STATIC = {
    "[quality] Citation Discipline (defined above)": 1.0,
    "[defect] Off-Query Padding (defined above)": 1.0,
    "[defect] Wrong-Entity Confabulation (defined above)": 1.0,
}
PLACES = ("Arnvik", "Bredal", "Corran", "Drumlin", "Eskeby", "Fossum", "Gairloch", "Holmsund")

Read = Callable[[Any], Iterable[tuple[int, dict[str, Any]]]]
"""The results of an answer: place in the batch, and id, reward and failure as it tells them."""


@dataclass(frozen=True)
class Made:
    """A rollout and what it was made of."""

    rollout: dict[str, Any]
    sources: dict[str, str]
    criteria: dict[str, float]
    """Weights by the line that a prompt shows."""
    sentence: str
    claims: tuple[tuple[str, tuple[str, ...]], ...]
    answered: bool

    def reward(self, knobs: dict[str, Any]) -> float:
        """By the formula of the design page, from the verdicts that the judge has for it."""
        question, met = self.rollout["question"], 0.0
        words = " ".join([self.sentence, *(text for text, _ in self.claims)])
        weights = self.criteria | ({} if knobs["instance_rubrics_only"] else STATIC)
        for line, weight in weights.items():
            mean = draw(2, question, *self.sources.values(), words, line).mean
            met += weight * (1 - mean if line.startswith("[defect]") else mean)
        rubrics = met / sum(weights.values())
        reward: float = rubrics + knobs["citation_weight"] * self.f1(question)
        return knobs["verification_reward"] * reward if self.answered else 0.0

    def f1(self, question: str) -> float:
        distinct = dict[str, dict[str, None]]()
        for text, names in self.claims:
            distinct.setdefault(text, {}).update(dict.fromkeys(names))
        earned = credited = 0.0
        for text, ids in distinct.items():
            cited = {name: self.sources[name] for name in ids if name in self.sources}
            if cited:
                support, use, *parts = (each.mean for each in judge_claim(question, text, cited))
                earned += support * use
                credited += support * use * (sum(parts) if parts else 1)
        uncited = draw(1, question, self.sentence).mean
        recall = earned / (len(distinct) + uncited)
        precision = credited / (sum(map(len, distinct.values())) + uncited)
        return 2 * precision * recall / (precision + recall) if earned and credited else 0.0


def make_group(number: int) -> Iterator[Made]:
    """Samples of one question that share some claims; three groups share their sources."""
    dice, survey = random.Random(number), number // 3
    sources = {f"S{n}": f"Survey {survey} counted {survey * n % 7} boats." for n in range(1, 6)}
    good = [f"Names catch {n} of list {number}." for n in range(11 if number % 10 == 0 else 2)]
    bad = [{"description": f"Repeats catch {n} of {number}.", "weight": n + 0.5} for n in (1, 2)]
    listed = {f"[quality] {text}": 1.0 for text in good}
    listed |= {f"[defect] Repeats catch {n} of {number}.": n + 0.5 for n in (1, 2)}
    facts = [f"{place} had {dice.randrange(999)} boats in list {number}." for place in PLACES]
    shared = {
        "question": f"What did survey {survey} count, asks reader {number}?",
        "tool_output": "".join(f"<snippet id={n}>{text}</snippet>" for n, text in sources.items()),
        "positive_rubrics": good,
        "negative_rubrics": bad,
    }
    for sample in range(SAMPLES):
        sentence = f"Sample {sample} tells of {dice.randrange(9999)} boats."
        claims = tuple(
            (text, tuple(dice.sample([*sources, "X9"], dice.randint(1, 3))))
            for text in dice.choices(facts, k=dice.randrange(5))
        )
        tagged = (f"<snippet id={','.join(ids)}>{text}</snippet>" for text, ids in claims)
        response, answered = " ".join([sentence, *tagged]), dice.random() < 0.95
        rollout = {
            **shared,
            "id": f"{number}-{sample}",
            "response": f"<answer>{response}</answer>" if answered else response,
        }
        yield Made(rollout, sources, listed, sentence, claims, answered)


def read_result(item: dict[str, Any]) -> dict[str, Any]:
    failure = item["failure"] and item["failure"]["kind"]
    return {"id": item["id"], "reward": item["reward"], "failure": failure}


def read_error(line: dict[str, Any]) -> dict[str, Any]:
    """What a stream says of a rollout that came as the service stopped."""
    return {"id": None, "reward": None, "failure": {"kind": line["error"]["error"]}}


def read_openrlhf(answer: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The route answers with a mean of others instead of null, and has no place for the kind."""
    for at, failed in enumerate(answer["extra_logs"]["judge_failed"]):
        failure = FailureKind.UNREACHABLE if failed else None
        yield at, {"reward": None if failed else answer["rewards"][at], "failure": failure}


def read_slime(answer: dict[str, Any]) -> dict[str, Any]:
    failed = bool(answer["judge_failed"])
    reward = None if failed else answer["reward"]
    return {"reward": reward, "failure": answer["outcome"] if failed else None}


ROUTES: dict[str, tuple[Callable[..., Any], Read, int]] = {
    "/v1/score": (
        lambda *rollouts: {"items": rollouts},
        lambda answer: enumerate(map(read_result, answer["items"])),
        40,
    ),
    "/v1/score?": (lambda rollout: rollout, lambda answer: [(0, read_result(answer))], 1),
    "/v1/score/stream": (
        lambda *rollouts: "\n".join(map(json.dumps, rollouts)),
        lambda line: [(line["line"] - 1, read_result(line["result"] or read_error(line)))],
        40,
    ),
    "/get_reward": (for_openrlhf, read_openrlhf, 3),
    "/rm": (for_slime, lambda answer: [(0, read_slime(answer))], 1),
}
"""How rollouts are written and results read, and the most rollouts of one request."""


class Callers:
    """Trainers of several kinds that post, leave, set deadlines and try again."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        # Each twice, so that callers wait for the same verdicts.
        self._groups = (number // 2 for number in range(ROLLOUTS // SAMPLES))
        self.answered = 0
        self.seen = Counter[str]()
        self.wrong: list[Any] = []

    async def run(self, dice: random.Random) -> None:
        """Post groups, one to three together, until there are no more."""
        while numbers := [*islice(self._groups, dice.randint(1, 3))]:
            rollouts = [made for number in numbers for made in make_group(number)]
            dice.shuffle(rollouts)
            knobs = {
                "verification_reward": dice.choice([1.0, 10.0]),
                "citation_weight": dice.choice([0.2, 0.5]),
                "instance_rubrics_only": dice.random() < 0.5,
            }
            path = dice.choice(list(ROUTES))
            most = ROUTES[path][2]
            for first in range(0, len(rollouts), most):
                await self._post(path, rollouts[first : first + most], knobs, dice)

    async def _post(
        self, path: str, batch: Sequence[Made], knobs: dict[str, Any], dice: random.Random
    ) -> None:
        """Send until all is answered; the first time the caller may leave, or set a deadline."""
        hurry, wait_s = dice.random(), dice.uniform(0.001, 0.5)
        late = {"deadline_s": wait_s} if hurry < 0.1 and path != "/v1/score/stream" else {}
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s if 0.1 < hurry < 0.2 else None):
                if await self._send(path, batch, knobs, late):
                    return
        while not await self._send(path, batch, knobs, {}):
            self.seen["sent again"] += 1
            await asyncio.sleep(0.1)

    async def _send(
        self, path: str, batch: Sequence[Made], knobs: dict[str, Any], late: dict[str, Any]
    ) -> bool:
        """Whether all was answered; each answer is checked, of a stream that breaks too."""
        write, read, _ = ROUTES[path]
        body, waiting = write(*(made.rollout for made in batch)), set(range(len(batch)))
        body = body if isinstance(body, str) else json.dumps(body)
        send = partial(self._client.stream, "POST", path.rstrip("?"), params=knobs | late)
        with suppress(httpx.TransportError):
            async with send(content=body) as answer:
                if answer.status_code != 200:
                    self.seen[f"HTTP {answer.status_code}"] += 1
                    return False
                async for text in answer.aiter_lines():
                    for at, result in read(json.loads(text)):
                        waiting.remove(at)
                        self._check(batch[at], knobs, result)
        self.answered += len(batch) if not waiting else 0
        return not waiting

    def _check(self, made: Made, knobs: dict[str, Any], result: dict[str, Any]) -> None:
        asked, expected = made.rollout["id"], made.reward(knobs)
        reward, failure = result["reward"], result["failure"]
        if (result.get("id") or asked) != asked:
            self.wrong.append((asked, result))
        elif reward is None and failure in {*FailureKind}:
            self.seen[str(failure)] += 1
        elif reward == pytest.approx(expected, abs=1e-9) and failure is None:
            self.seen["right"] += 1
        else:
            self.wrong.append((asked, result, expected, knobs))


async def test_no_reward_is_wrong_while_everything_fails(tmp_path, record_property):
    judge_url, url = free_url(), free_url()
    judge = {"judge": "vllm", "judge_url": f"{judge_url}/v1", "judge_model": MODEL}
    limits = {"judge_timeout_s": 5, "stop_grace_s": 2, "evidence_quotes": False}
    starts, running, logs = {}, {}, []
    for name, command, settings in (
        ("judge", ("-m", "harness.judging"), {"port": judge_url.rpartition(":")[2]}),
        ("service", (), {"port": url.rpartition(":")[2], **judge, **limits}),
    ):
        (tmp_path / name).mkdir()
        starts[name] = partial(ServiceProcess, tmp_path / name, *command, **settings)
        running[name] = starts[name]()

    def stop(name: str, sign: signal.Signals = signal.SIGKILL) -> None:
        process = running.pop(name)
        process.popen.send_signal(sign)
        process.popen.communicate()
        process.client.close()
        logs.append(process.log)

    async def break_things() -> None:
        for share, name, sign in BREAKS:
            await until(lambda: callers.answered >= share * ROLLOUTS, patience_s=3600.0)  # noqa: B023
            await asyncio.to_thread(stop, name, sign)
            running[name] = await asyncio.to_thread(starts[name])

    began, many = time.monotonic(), httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    connected = httpx.AsyncClient(base_url=url, timeout=240.0, trust_env=False, limits=many)
    try:
        async with connected as client, asyncio.TaskGroup() as group:
            callers = Callers(client)
            group.create_task(break_things())
            for number in range(CALLERS):
                group.create_task(callers.run(random.Random(number)))
    finally:
        for name in [*running]:
            stop(name)
    seconds = time.monotonic() - began
    record_property("figures", f"{callers.answered} rollouts in {seconds:.0f} s: {callers.seen}")
    assert callers.wrong == []
    assert callers.seen.keys() <= {"right", "sent again", "HTTP 429", "HTTP 503", *FailureKind}
    assert callers.answered == ROLLOUTS
    assert callers.seen["right"] > ROLLOUTS / 2
    assert "Traceback" not in "".join(logs)
