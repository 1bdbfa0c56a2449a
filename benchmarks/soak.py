"""Memory over time: steps without end, each of texts that no cache has seen."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from processes import running_service, scripted_judge
from report import Line
from rounds import batch_round
from workload import Workload

RSS_MB = 250


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory after so many rollouts."""

    rollouts: int
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Soak:
    """Resident memory from the first step to the last."""

    seconds: float
    samples: tuple[Sample, ...]

    @property
    def rss_mb(self) -> float:
        """At the end."""
        return self.samples[-1].rss_mb

    @property
    def growth_mb(self) -> float:
        """From the middle of the run to its end; near 0 where memory is flat."""
        return self.rss_mb - self.samples[len(self.samples) // 2].rss_mb


def measure(step: Workload, stamps: Iterator[int], *, seconds: float) -> Soak:
    """Send batches to an instant judge for so long."""
    samples: list[Sample] = []
    rollouts = 0
    with scripted_judge() as judge, running_service(judge, evidence_quotes=False) as service:
        start = time.monotonic()
        while (lasted := time.monotonic() - start) < seconds or not samples:
            rollouts += batch_round(service, step.batch(next(stamps))).rollouts
            samples.append(Sample(rollouts, service.rss_mb()))
    return Soak(lasted, tuple(samples))


def lines(step: Workload, stamps: Iterator[int], *, seconds: float) -> Iterator[Line]:
    """Memory at the end, and whether it still grew."""
    found = measure(step, stamps, seconds=seconds)
    note = f"after {found.samples[-1].rollouts} rollouts in {found.seconds:.0f} s"
    yield Line("memory, MiB", found.rss_mb, RSS_MB, note=note, key="rss_mb")
    yield Line("growth in the second half, MiB", found.growth_mb)
