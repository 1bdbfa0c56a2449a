"""What readers of the pages cost those who wait for rewards: the same steps with and without them.

Pages and rewards are made by one process. The reader asks for page after page as fast as they
come, which a person does not.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from latency import CALL_S, SLOTS
from pages import addresses
from processes import Service, running_service, scripted_judge
from report import Line
from rounds import Round, Spread, batch_round
from workload import Workload

_PAGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """Steps alone and steps beside a reader; round by round they took turns."""

    alone: tuple[Round, ...]
    beside: tuple[Round, ...]
    pages: int
    """Read during the steps beside."""

    @property
    def wall_ratio(self) -> float:
        """Beside over alone: the middle of the rounds' own ratios."""
        pairs = zip(self.beside, self.alone, strict=True)
        return Spread(tuple(beside.wall_s / alone.wall_s for beside, alone in pairs)).median


def measure(
    step: Workload, stamps: Iterator[int], *, repetitions: int, ledger: Path, call_s: float = CALL_S
) -> Reading:
    """Steps of new prompts at `call_s` a call, kept in `ledger`, whose pages are read."""
    pages = tuple(addresses(ledger).values())
    settings = {"evidence_quotes": False, "judge_concurrency": SLOTS}
    with (
        scripted_judge(call_s) as judge,
        running_service(judge, ledger=f"sqlite:///{ledger}", **settings) as service,
    ):
        batch_round(service, step.batch(next(stamps)))
        rounds = [_turn(service, step, stamps, pages, first) for first in range(repetitions)]
    return Reading(
        alone=tuple(alone for alone, _, _ in rounds),
        beside=tuple(beside for _, beside, _ in rounds),
        pages=sum(read for _, _, read in rounds),
    )


def lines(
    step: Workload, stamps: Iterator[int], *, repetitions: int, ledger: Path
) -> Iterator[Line]:
    """The step beside a reader over the step alone."""
    found = measure(step, stamps, repetitions=repetitions, ledger=ledger)
    note = f"{found.pages} pages in {len(found.beside)} steps"
    yield Line("step beside a reader of pages over alone", found.wall_ratio, note=note)


def _turn(
    service: Service, step: Workload, stamps: Iterator[int], pages: tuple[str, ...], number: int
) -> tuple[Round, Round, int]:
    """Both once, each of them first in every other turn."""
    alone = None if number % 2 else batch_round(service, step.batch(next(stamps)))
    over = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        first = number % len(pages)
        reading = thread.submit(_read, service.url, pages[first:] + pages[:first], over)
        try:
            beside = batch_round(service, step.batch(next(stamps)))
        finally:
            over.set()
    return alone or batch_round(service, step.batch(next(stamps))), beside, reading.result()


def _read(url: str, pages: tuple[str, ...], over: threading.Event) -> int:
    """Ask for one page after the other until it is over, at least one; how many came."""
    with httpx.Client(base_url=f"{url}/ui/", timeout=_PAGE_S, trust_env=False) as client:
        read = 0
        while not (read and over.is_set()):
            client.get(pages[read % len(pages)]).raise_for_status()
            read += 1
    return read
