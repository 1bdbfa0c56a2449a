"""A step against a judge that takes its time: how near the wall comes to full slots."""

from collections.abc import Iterator
from dataclasses import dataclass

from processes import running_service, scripted_judge
from report import Line
from rounds import Spread, batch_round
from workload import Workload

CALL_S = 0.2
SLOTS = 64
STEP_RATIO = 1.15


@dataclass(frozen=True, slots=True)
class Latency:
    """A step's wall time, several times."""

    wall_s: Spread
    ideal_s: float

    @property
    def ratio(self) -> float:
        """Median wall over ideal."""
        return self.wall_s.median / self.ideal_s


def ideal_s(calls: int) -> float:
    """Wall of a step whose calls keep every slot busy from its first moment to its last."""
    return calls * CALL_S / SLOTS


def measure(step: Workload, stamps: Iterator[int], *, repetitions: int) -> Latency:
    """The step as one batch, at 200 ms a call and 64 slots."""
    settings = {"evidence_quotes": False, "judge_concurrency": SLOTS}
    with scripted_judge(CALL_S) as judge, running_service(judge, **settings) as service:
        batch_round(service, step.batch(next(stamps)))
        rounds = [batch_round(service, step.batch(next(stamps))) for _ in range(repetitions)]
    return Latency(Spread(tuple(each.wall_s for each in rounds)), ideal_s(rounds[0].judge("calls")))


def lines(step: Workload, stamps: Iterator[int], *, repetitions: int) -> Iterator[Line]:
    """The step's wall time, and how far it is from full slots."""
    found = measure(step, stamps, repetitions=repetitions)
    wall_s = found.wall_s
    yield Line(
        "step at 200 ms and 64 slots, s",
        wall_s.median,
        note=f"least {wall_s.least:.2f}",
        key="step_wall_s",
    )
    yield Line("its ideal, s", found.ideal_s, key="step_ideal_s")
    yield Line("step over ideal", found.ratio, STEP_RATIO)
