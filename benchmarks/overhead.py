"""What the service itself costs: a step against a judge that answers at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from processes import Service, running_service, scripted_judge
from rounds import Round, Spread, batch_round, single_round
from workload import Workload

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
