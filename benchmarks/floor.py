"""The least that the same bytes cost: a bare route and a bare client, which judge nothing."""

from collections.abc import Iterator
from pathlib import Path

from processes import bare_service, scripted_judge
from prompts import keep
from rounds import Spread, bare_round
from workload import Workload


def measure(step: Workload, stamps: Iterator[int], *, folder: Path, repetitions: int) -> Spread:
    """CPU milliseconds a rollout of a service that only passes on what a real one sent."""
    requests = folder / "floor-requests"
    answer_bytes = keep(step, next(stamps), requests)
    with scripted_judge() as judge, bare_service(judge, requests, answer_bytes) as service:
        bare_round(service, step.batch(next(stamps)))
        costs = [bare_round(service, step.batch(next(stamps))) for _ in range(repetitions)]
    return Spread(tuple(1000 * cost / len(step.rollouts) for cost in costs))
