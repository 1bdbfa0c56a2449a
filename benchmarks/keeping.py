"""What the ledger costs: the same steps with it and without it, turn by turn."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from citemark_service.ledger.database import open_engine
from latency import CALL_S, SLOTS
from processes import Service, running_service, scripted_judge
from report import Line
from rounds import Round, Spread, batch_round
from workload import Workload

WALL_RATIO = 1.05
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Keeping:
    """Steps with and without a ledger; round by round they took turns."""

    off: tuple[Round, ...]
    on: tuple[Round, ...]
    file_bytes: float
    """What the database grew by, a rollout."""

    @property
    def wall_ratio(self) -> float:
        """With over without: the middle of the rounds' own ratios, so that a slow minute of the
        machine, which both sides of a round share, does not count."""
        pairs = zip(self.on, self.off, strict=True)
        return Spread(tuple(on.wall_s / off.wall_s for on, off in pairs)).median

    @property
    def least_ratio(self) -> float:
        """The same of the fastest round of each side: what nothing else held up."""
        return min(each.wall_s for each in self.on) / min(each.wall_s for each in self.off)

    @property
    def wall_s(self) -> tuple[float, float]:
        """Median seconds a step, without and with."""
        return _median_wall(self.off), _median_wall(self.on)

    @property
    def cpu_ms(self) -> float:
        """CPU a rollout that the ledger adds, of the least of each side."""
        return min(each.cpu_ms for each in self.on) - min(each.cpu_ms for each in self.off)


def measure(
    step: Workload, stamps: Iterator[int], *, repetitions: int, ledger: Path, call_s: float = CALL_S
) -> Keeping:
    """Steps of new prompts at `call_s` a call, kept in `ledger`, which may hold others already."""
    settings = {"evidence_quotes": False, "judge_concurrency": SLOTS}
    with scripted_judge(call_s) as judge, ExitStack() as stack:
        address = f"sqlite:///{ledger}"
        services = [
            stack.enter_context(running_service(judge, ledger=each, **settings))
            for each in ("off", address)
        ]
        for service in services * _WARM_UP:
            batch_round(service, step.batch(next(stamps)))
        before = _pages(ledger)
        rounds = [_turn(services, step, stamps, first) for first in range(repetitions)]
    off, on = zip(*rounds, strict=True)
    grown = _pages(ledger) - before
    return Keeping(off, on, grown / (repetitions * len(step.rollouts)))


def lines(
    name: str, step: Workload, stamps: Iterator[int], *, repetitions: int, ledger: Path
) -> Iterator[Line]:
    """What the ledger `name` costs."""
    kept = measure(step, stamps, repetitions=repetitions, ledger=ledger)
    off, on = kept.wall_s
    note = f"medians {off:.2f} and {on:.2f} s; of the least {kept.least_ratio:.2f}"
    yield Line(f"step with ledger over without, {name}", kept.wall_ratio, WALL_RATIO, note=note)
    yield Line(f"CPU ms a rollout that it adds, {name}", kept.cpu_ms)
    yield Line(f"bytes a rollout in it, {name}", kept.file_bytes)


def _turn(
    services: list[Service], step: Workload, stamps: Iterator[int], number: int
) -> tuple[Round, Round]:
    """Both sides once, each of them first in every other turn."""
    off, on = services
    if number % 2:
        kept = batch_round(on, step.batch(next(stamps)))
        return batch_round(off, step.batch(next(stamps))), kept
    return batch_round(off, step.batch(next(stamps))), batch_round(on, step.batch(next(stamps)))


def _median_wall(rounds: tuple[Round, ...]) -> float:
    return Spread(tuple(each.wall_s for each in rounds)).median


def _pages(ledger: Path) -> int:
    """Bytes in use, also those that only the log has yet."""
    engine = open_engine(f"sqlite:///{ledger}")
    with engine.connect() as connection:
        count = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    engine.dispose()
    return int(count) * int(size)
