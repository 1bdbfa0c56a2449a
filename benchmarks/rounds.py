"""Posting a step and timing it: wall on our side, CPU on the service's."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from processes import Service

_PARALLEL = 64
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
    return asyncio.run(_round(service, [body]))


def single_round(service: Service, bodies: list[bytes]) -> Round:
    """One request a rollout, 64 at a time."""
    return asyncio.run(_round(service, bodies))


def bare_round(service: Service, body: bytes) -> float:
    """One request whose answer nobody reads; CPU seconds of the service."""
    return asyncio.run(_exchanged(service, [body])).cpu_s


@dataclass(frozen=True, slots=True)
class _Exchange:
    answers: list[bytes]
    wall_s: float
    cpu_s: float


async def _round(service: Service, bodies: list[bytes]) -> Round:
    exchange = await _exchanged(service, bodies)
    results = [result for answer in exchange.answers for result in _results(answer)]
    return Round(len(results), exchange.wall_s, exchange.cpu_s, results)


async def _exchanged(service: Service, bodies: list[bytes]) -> _Exchange:
    connector = aiohttp.TCPConnector(limit=_PARALLEL)
    limit = aiohttp.ClientTimeout(total=_LIMIT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
        cpu_s, start = service.cpu_s(), time.perf_counter()
        answers = await asyncio.gather(*(_posted(session, service.url, body) for body in bodies))
        wall_s = time.perf_counter() - start
        await asyncio.sleep(_SETTLE_S)  # what the service does after its answer is its cost too
        return _Exchange(answers, wall_s, service.cpu_s() - cpu_s)


async def _posted(session: aiohttp.ClientSession, url: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/v1/score", data=body, headers=headers) as response:
        answer = await response.read()
        if response.status != 200:
            raise NotScored(f"{response.status}: {answer[:500]!r}")
        return answer


def _results(answer: bytes) -> list[dict[str, Any]]:
    decoded = json.loads(answer)
    results: list[dict[str, Any]] = decoded.get("items", [decoded])
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
