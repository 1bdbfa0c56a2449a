"""What the service itself costs, at a judge that answers at once, beside the floor's two posts.

The floor and every way to send a step take turns in each round, since a ratio to what the same
minute of the same machine gave is all that can be compared with another run's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import prompts
from floor import Floor
from processes import running_service, scripted_judge
from report import Line
from rounds import Round, Spread, batch_round, single_round, stream_round
from workload import NEAR_QUOTE, Workload

DEFAULTS_RATIO: Final = 1.2
CALLS: Final = 2.0
COMPLETION_TOKENS: Final = 120
BATCH, SINGLES, STREAM = "batch of 256", "256 requests", "a stream"
DEFAULTS = "with quotes and ledger"


@dataclass(frozen=True, slots=True)
class Overhead:
    """A step sent in several ways, several times."""

    floor_ms: Spread
    """CPU a rollout of two bare posts."""
    ways: dict[str, tuple[Round, ...]]
    """Rounds by way; without ledger and quotes where the name says nothing of them."""
    repeat: Round
    """The last step as a batch once more."""

    def cpu_ms(self, way: str) -> Spread:
        """A rollout, of the service's process alone."""
        return Spread(tuple(each.cpu_ms for each in self.ways[way]))

    def ratio(self, way: str) -> float:
        """The least CPU over the floor's."""
        return self.cpu_ms(way).least / self.floor_ms.least


def measure(step: Workload, stamps: Iterator[int], *, folder: Path, repetitions: int) -> Overhead:
    """All ways turn by turn, after one turn that is not counted."""
    stamp, count = next(stamps), len(step.rollouts)
    requests, ledger = folder / f"requests-{stamp}", f"sqlite:///{folder}/ledger-{stamp}.db"
    prompts.keep(step, stamp, requests)
    with (
        scripted_judge() as judge,
        scripted_judge(quote=NEAR_QUOTE) as misquoting,
        Floor(judge, requests) as floor,
        running_service(judge, evidence_quotes=False) as plain,
        running_service(judge, ledger=ledger) as default,
        running_service(misquoting) as near,
    ):

        def turn() -> tuple[float, dict[str, Round]]:
            return 1000 * floor.round() / count, {
                BATCH: batch_round(plain, step.batch(next(stamps))),
                SINGLES: single_round(plain, step.singles(next(stamps))),
                STREAM: stream_round(plain, step.singles(next(stamps))),
                DEFAULTS: batch_round(default, step.batch(next(stamps))),
                "with near-miss quotes": batch_round(near, step.batch(next(stamps))),
            }

        turn()
        floors, turns = zip(*(turn() for _ in range(repetitions)), strict=True)
        body = step.batch(next(stamps))
        _, repeat = batch_round(plain, body), batch_round(plain, body)
    ways = {way: tuple(each[way] for each in turns) for way in turns[0]}
    return Overhead(Spread(floors), ways, repeat)


def lines(
    name: str,
    step: Workload,
    stamps: Iterator[int],
    *,
    ratio: float,
    folder: Path,
    repetitions: int,
) -> Iterator[Line]:
    """The floor, and each way's multiple of it; `name` begins the keys."""
    found = measure(step, stamps, folder=folder, repetitions=repetitions)
    floor, plain = found.floor_ms, found.ways[BATCH]
    yield Line(
        f"CPU ms of two bare posts, {name}",
        floor.least,
        note=f"median {floor.median:.2f}",
        key=f"{name}_floor_ms",
    )
    for way in found.ways:
        cpu, key = (
            found.cpu_ms(way),
            {BATCH: "batch", SINGLES: "singles", STREAM: "stream"}.get(way),
        )
        yield Line(
            f"CPU over that, {way}",
            found.ratio(way),
            ratio if key else None,
            note=f"{cpu.least:.2f} ms, median {cpu.median:.2f}",
            key=key and f"{name}_{key}_over_floor",
        )
    defaults = found.ratio(DEFAULTS) / found.ratio(BATCH)
    yield Line(
        "CPU with the defaults over without",
        defaults,
        DEFAULTS_RATIO,
        key=f"{name}_defaults_over_plain",
    )
    per_s = max(each.per_s for each in plain)
    yield Line(f"rollouts a second, {BATCH}", per_s, key=f"{name}_rollouts_per_s")
    for what, bar in (("calls", CALLS), ("completion_tokens", COMPLETION_TOKENS)):
        each = plain[0].judge(what) / plain[0].rollouts
        yield Line(f"judge {what.replace('_', ' ')} a rollout", each, bar, key=f"{name}_{what}")
    yield Line("judge calls on a repeat", found.repeat.judge("calls"), 0.0)
