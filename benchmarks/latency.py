"""A step against a judge that takes its time: how near the wall comes to full slots."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from processes import running_service, scripted_judge
from report import Line
from rounds import Round, Spread, batch_round, lone_waits, single_round
from workload import Workload

CALL_S = 0.2
SLOTS = 64
STEP_RATIO, SHORT_STEP_RATIO = 1.15, 1.5
FIRST_CALL_MS = 30.0
SHORT_CALL_S = 0.05
LONE_MS = 15.0
_LONE = 100


@dataclass(frozen=True, slots=True)
class Pace:
    """A step, and when its judge calls came."""

    sent: Round
    calls: tuple[float, ...]
    """Monotonic seconds, in order."""
    call_s: float

    @property
    def ratio(self) -> float:
        """Wall over that of a step whose calls keep every slot busy from first to last moment."""
        return self.sent.wall_s * SLOTS / (len(self.calls) * self.call_s)

    @property
    def first_call_ms(self) -> float:
        """From the first request's last byte."""
        return 1000 * (self.calls[0] - self.sent.sent_at)

    @property
    def idle(self) -> float:
        """Share of the slots' time that was idle while calls were still to come."""
        last = self.calls[-1]
        busy = sum(min(self.call_s, last - at) for at in self.calls)
        return 1 - busy / (SLOTS * (last - self.sent.sent_at))


def measure(
    step: Workload, stamps: Iterator[int], *, folder: Path, repetitions: int, call_s: float = CALL_S
) -> tuple[tuple[Pace, ...], tuple[Pace, ...]]:
    """The step as one batch and as one request a rollout, turn by turn."""
    times = folder / f"calls-{next(stamps)}"
    settings = {"evidence_quotes": False, "judge_concurrency": SLOTS}
    with (
        scripted_judge(call_s, times=times) as judge,
        running_service(judge, **settings) as service,
    ):

        def pace(sent: Round) -> Pace:
            calls = sorted(map(float, times.read_text().split()))
            return Pace(sent, tuple(at for at in calls if at > sent.sent_at), call_s)

        batch_round(service, step.batch(next(stamps)))
        turns = [
            (
                pace(batch_round(service, step.batch(next(stamps)))),
                pace(single_round(service, step.singles(next(stamps)))),
            )
            for _ in range(repetitions)
        ]
    batches, singles = zip(*turns, strict=True)
    return batches, singles


def lines(
    step: Workload, stamps: Iterator[int], *, folder: Path, repetitions: int
) -> Iterator[Line]:
    """The step over its ideal, and when the first call leaves."""
    for call_s, bar in ((CALL_S, STEP_RATIO), (SHORT_CALL_S, SHORT_STEP_RATIO)):
        at = f"at {1000 * call_s:.0f} ms x {SLOTS}"
        found = measure(step, stamps, folder=folder, repetitions=repetitions, call_s=call_s)
        for name, paces in zip(("batch", "singles"), found, strict=True):
            wall, idle = Spread(tuple(p.sent.wall_s for p in paces)), paces[0].idle
            yield Line(
                f"step over ideal {at}, {name}",
                Spread(tuple(each.ratio for each in paces)).median,
                bar,
                note=f"{wall.median:.2f} s, least {wall.least:.2f}; slots idle {idle:.0%}",
                key=f"step_over_ideal_{1000 * call_s:.0f}ms_{name}",
            )
            first = Spread(tuple(each.first_call_ms for each in paces))
            yield Line(
                f"ms to the first judge call, {name}",
                first.median,
                FIRST_CALL_MS if name == "singles" else None,
                note=f"least {first.least:.0f}",
                key=f"first_call_ms_{1000 * call_s:.0f}ms_{name}",
            )
    yield from _lone_lines(step, stamps)


def _lone_lines(step: Workload, stamps: Iterator[int]) -> Iterator[Line]:
    """What one request without others adds to its judge's time."""
    with scripted_judge(SHORT_CALL_S) as judge, running_service(judge) as service:
        lone_waits(service, step.singles(next(stamps))[:5])
        waits = sorted(lone_waits(service, step.singles(next(stamps))[:_LONE]))
    added = [1000 * (wait - SHORT_CALL_S) for wait in waits]
    yield Line(
        "ms that a lone request adds to its judge, p99",
        added[int(0.99 * len(added)) - 1],
        LONE_MS,
        note=f"median {added[len(added) // 2]:.1f}",
        key="lone_p99_ms",
    )
