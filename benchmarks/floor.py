"""The least that the same bytes cost: a bare route and a bare client, which judge nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import bare_service, scripted_judge
from rounds import Spread, bare_round
from workload import Workload


@dataclass(frozen=True, slots=True)
class Floor:
    """CPU of the bare service."""

    cpu_ms: Spread
    """A rollout."""


def measure(
    step: Workload, stamps: Iterator[int], *, requests: Path, answer_bytes: int, repetitions: int
) -> Floor:
    """The step through a service that only passes `requests`, kept from a real one, on.

    Args:
        answer_bytes: of one rollout's result.
    """
    with scripted_judge() as judge, bare_service(judge, requests, answer_bytes) as service:
        bare_round(service, step.batch(next(stamps)))
        costs = [bare_round(service, step.batch(next(stamps))) for _ in range(repetitions)]
    return Floor(Spread(tuple(1000 * cost / len(step.rollouts) for cost in costs)))
