"""One judgement for all who wait for it.

Clients post the same rollout again after their own time-outs, and the first request is
cancelled when its client is gone. A flight belongs to nobody: it lives while someone waits for
it and for `linger_s` after, so that the second request finds it under way.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from citemark_service.errors import DeadlineExceeded, JudgeError, JudgeStopped
from citemark_service.judges.wire.retry import seconds_left
from citemark_service.verdicts.keys import Verdict

_log = logging.getLogger("citemark.verdicts")


@dataclass(frozen=True, slots=True)
class Landed:
    """What a flight brings."""

    verdicts: Mapping[bytes, Verdict]
    """Placed verdicts by key."""
    kept: frozenset[bytes]
    """Those among the keys that the store had, so that nobody judged them."""


Work = Coroutine[Any, Any, Landed]


class Flight:
    """One judgement under way, or over."""

    def __init__(
        self, work: Work, *, asked: Sequence[bytes], priority: int, linger_s: float
    ) -> None:
        self.asked = asked
        """All that the task behind it asks for, known or not, in order."""
        self.priority = priority
        self.task = asyncio.get_running_loop().create_task(work)
        self._linger_s = linger_s
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> None:
        """One more waits, until it leaves."""
        self._waiting += 1
        self._stop_timer()

    def leave(self) -> None:
        """One less waits; after the last it is cancelled, unless someone joins in time."""
        self._waiting -= 1
        if not self._waiting and not self.task.done():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._linger_s, self.task.cancel)

    async def landed(self, deadline: float | None) -> Landed:
        """Wait for the end, no longer than until `deadline` (`time.monotonic()`).

        Raises:
            JudgeError: the judgement failed, or the deadline came first.
        """
        timeout = None if deadline is None else seconds_left(deadline)
        await asyncio.wait([self.task], timeout=timeout)  # cancelled, it leaves the task alone
        if not self.task.done():
            raise DeadlineExceeded("no verdict before the deadline")
        if self.task.cancelled():
            raise JudgeStopped("the judge was closed")
        return self.task.result()

    def over(self) -> None:
        """Note the end: a failure that nobody waited for is no news, a defect is."""
        self._stop_timer()
        error = None if self.task.cancelled() else self.task.exception()
        if error is not None and not self._waiting and not isinstance(error, JudgeError):
            _log.error("a judgement that nobody waited for broke", exc_info=error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Flights:
    """Those under way, by what they judge."""

    def __init__(self, *, linger_s: float) -> None:
        self._linger_s = linger_s
        self._by_key: dict[bytes, Flight] = {}
        self._flights: set[Flight] = set()
        self._closed = False

    def judging(self, key: bytes, *, priority: int) -> Flight | None:
        """The flight that judges this, no less urgently than `priority`."""
        flight = self._by_key.get(key)
        if flight is None or flight.priority > priority or flight.task.cancelling():
            return None
        return flight

    def launch(
        self, work: Work, keys: Iterable[bytes], *, asked: Sequence[bytes], priority: int
    ) -> Flight:
        """Start judging `keys`. Raises `JudgeStopped` once closed."""
        if self._closed:
            work.close()
            raise JudgeStopped("the judge is closed")
        flight = Flight(work, asked=asked, priority=priority, linger_s=self._linger_s)
        mine = dict.fromkeys(keys, flight)
        self._by_key.update(mine)
        self._flights.add(flight)
        flight.task.add_done_callback(lambda _: self._over(flight, mine))
        return flight

    async def aclose(self) -> None:
        """Cancel all, and wait until they have ended."""
        self._closed = True
        tasks = [flight.task for flight in self._flights]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, flight: Flight, keys: Iterable[bytes]) -> None:
        self._flights.discard(flight)
        for key in keys:
            if self._by_key.get(key) is flight:
                del self._by_key[key]
        flight.over()
