"""Posting a step and timing it: wall on our side, CPU on the service's."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from processes import Service

_LIMIT_S = 300.0
_SETTLE_S = 0.05


class NotScored(Exception):
    """The service refused, or a rollout has no reward; the message is its own."""


@dataclass(frozen=True, slots=True)
class Round:
    """One step, sent and answered."""

    rollouts: int
    wall_s: float
    cpu_s: float
    """Of the service's process alone."""
    results: list[dict[str, Any]]
    sent_at: float = 0.0
    """When the last byte of the first request left, in monotonic seconds."""

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a rollout."""
        return 1000 * self.cpu_s / self.rollouts

    @property
    def per_s(self) -> float:
        """Rollouts per second of wall."""
        return self.rollouts / self.wall_s

    def judge(self, field: str) -> int:
        """One counter of the results' `judge`, summed."""
        return sum(int(result["judge"][field]) for result in self.results)


def batch_round(service: Service, body: bytes) -> Round:
    """All rollouts in one request."""
    return asyncio.run(_round(service, "score", [body]))


def single_round(service: Service, bodies: list[bytes]) -> Round:
    """One request a rollout, all at once, as trainers' reward functions send them."""
    return asyncio.run(_round(service, "score", bodies))


def stream_round(service: Service, bodies: list[bytes]) -> Round:
    """One rollout a line."""
    return asyncio.run(_round(service, "score/stream", [b"\n".join(bodies)]))


def lone_waits(service: Service, bodies: list[bytes]) -> list[float]:
    """Seconds of one request after the other."""
    return asyncio.run(_waits(service, bodies))


async def _waits(service: Service, bodies: list[bytes]) -> list[float]:
    waits = []
    async with aiohttp.ClientSession() as session:
        for body in bodies:
            start = time.perf_counter()
            await _posted(session, f"{service.url}/v1/score", body)
            waits.append(time.perf_counter() - start)
    return waits


async def _round(service: Service, path: str, bodies: list[bytes]) -> Round:
    sent_at: list[float] = []

    async def note(*_about: object) -> None:
        sent_at.append(time.monotonic())

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(note)
    url, limit = f"{service.url}/v1/{path}", aiohttp.ClientTimeout(total=_LIMIT_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=limit, trace_configs=[trace]
    ) as session:
        cpu_s, start = service.cpu_s(), time.perf_counter()
        answers = await asyncio.gather(*(_posted(session, url, body) for body in bodies))
        wall_s = time.perf_counter() - start
        await asyncio.sleep(_SETTLE_S)  # what the service does after its answer is its cost too
        cpu_s = service.cpu_s() - cpu_s
    results = [
        result for answer in answers for line in answer.splitlines() for result in _results(line)
    ]
    return Round(len(results), wall_s, cpu_s, results, sent_at[0])


async def _posted(session: aiohttp.ClientSession, url: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    async with session.post(url, data=body, headers=headers) as response:
        answer = await response.read()
        if response.status != 200:
            raise NotScored(f"{response.status}: {answer[:500]!r}")
        return answer


def _results(line: bytes) -> list[dict[str, Any]]:
    decoded = json.loads(line)
    results: list[dict[str, Any]] = decoded.get("items") or [decoded.get("result", decoded)]
    if failed := [result["failure"] for result in results if result["reward"] is None]:
        raise NotScored(f"{len(failed)} of {len(results)} rollouts failed, as {failed[0]}")
    return results


@dataclass(frozen=True, slots=True)
class Spread:
    """Repetitions of one measurement."""

    values: tuple[float, ...]

    @property
    def least(self) -> float:
        """The smallest: what is left when nothing else wants the processor."""
        return min(self.values)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)
