"""What the service itself costs: a step against a judge that answers at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import floor
from processes import Service, running_service, scripted_judge
from report import Line
from rounds import Round, Spread, batch_round, single_round
from workload import Workload

CPU_MS = 1.5
CALLS = 2.0
COMPLETION_TOKENS = 120
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Overhead:
    """One way to send a step, several times."""

    cpu_ms: Spread
    """A rollout, of the service's process alone."""
    per_s: Spread
    """Rollouts per second, with judge, service and driver on one machine."""
    calls: float
    """To the judge, a rollout."""
    repeated_calls: float
    """The same when the same step is sent again."""
    completion_tokens: float
    """A rollout, in the scripted tokens of the replies."""


def measure(
    step: Workload, stamps: Iterator[int], *, repetitions: int, quotes: bool = False
) -> tuple[Overhead, Overhead]:
    """The step as one batch of rollouts, and as one request a rollout."""
    with scripted_judge() as judge, running_service(judge, evidence_quotes=quotes) as service:
        for _ in range(_WARM_UP):
            batch_round(service, step.batch(next(stamps)))
        batches = _batches(service, step, stamps, repetitions)
        singles = _singles(service, step, stamps, repetitions)
    return _overhead(batches), _overhead(singles)


def lines(
    step: Workload, stamps: Iterator[int], *, folder: Path, repetitions: int
) -> Iterator[Line]:
    """As one batch and as singles, without and with quotes, and beside the floor."""
    few = max(1, repetitions // 2)
    batch, singles = measure(step, stamps, repetitions=repetitions)
    quoted, _ = measure(step, stamps, repetitions=few, quotes=True)
    for name, part in (("batch of 256", batch), ("256 requests", singles)):
        first = part is batch
        yield Line(
            f"CPU ms a rollout, {name}",
            part.cpu_ms.least,
            CPU_MS,
            note=f"median {part.cpu_ms.median:.2f}",
            key="cpu_ms_per_rollout" if first else None,
        )
        yield Line(
            f"rollouts a second, {name}",
            max(part.per_s.values),
            note="all on one machine",
            key="rollouts_per_s" if first else None,
        )
    median = f"median {quoted.cpu_ms.median:.2f}"
    yield Line("CPU ms a rollout, with quotes", quoted.cpu_ms.least, note=median)
    yield Line("judge calls a rollout", batch.calls, CALLS, key="judge_calls_per_rollout")
    yield Line("judge calls on a repeat", batch.repeated_calls, 0.0)
    yield Line(
        "completion tokens a rollout",
        batch.completion_tokens,
        COMPLETION_TOKENS,
        key="completion_tokens_per_rollout",
    )
    bare = floor.measure(step, stamps, folder=folder, repetitions=repetitions).least
    yield Line("CPU ms a rollout, bytes alone", bare, note="the floor", key="loopback_floor_ms")
    yield Line("CPU over the floor, batch of 256", batch.cpu_ms.least / bare)
    yield Line("CPU over the floor, 256 requests", singles.cpu_ms.least / bare)


def _batches(service: Service, step: Workload, stamps: Iterator[int], count: int) -> list[Round]:
    """Fresh rounds, and the last one's again."""
    bodies = [step.batch(next(stamps)) for _ in range(count)]
    return [batch_round(service, body) for body in [*bodies, bodies[-1]]]


def _singles(service: Service, step: Workload, stamps: Iterator[int], count: int) -> list[Round]:
    bodies = [step.singles(next(stamps)) for _ in range(count)]
    return [single_round(service, body) for body in [*bodies, bodies[-1]]]


def _overhead(rounds: list[Round]) -> Overhead:
    *fresh, again = rounds
    return Overhead(
        cpu_ms=Spread(tuple(each.cpu_ms for each in fresh)),
        per_s=Spread(tuple(each.per_s for each in fresh)),
        calls=fresh[0].judge("calls") / fresh[0].rollouts,
        repeated_calls=again.judge("calls") / again.rollouts,
        completion_tokens=fresh[0].judge("completion_tokens") / fresh[0].rollouts,
    )
