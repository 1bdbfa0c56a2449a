"""What the service lets in: bounded counts, and the draining that ends all of them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

from citemark_service.errors import Overloaded, ShuttingDown, TooLarge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_FULL_RETRY_AFTER_S = 1.0
_STOPPING_RETRY_AFTER_S = 5.0
_DRAIN_PATIENCE_S = 0.5


class Quota:
    """At most `limit` units are held at once; those who wait are served in order of arrival.

    Used within one event loop.
    """

    def __init__(self, limit: int, noun: str) -> None:
        self.limit = limit
        self.held = 0
        self._noun = noun
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> "Hold":
        """An empty hold."""
        return Hold(self)

    def require_possible(self, count: int) -> None:
        """Raises `TooLarge` where `count` could never fit."""
        if count > self.limit:
            raise TooLarge(f"{count} {self._noun} can never fit the limit of {self.limit}")

    def take(self, count: int) -> None:
        """Hold `count` more now.

        Raises:
            TooLarge: `count` could never fit.
            Overloaded: it does not fit at the moment.
        """
        self.require_possible(count)
        if self.held + count > self.limit:
            raise Overloaded(
                f"{self.held} of {self.limit} {self._noun} are taken and {count} more are needed",
                retry_after_s=_FULL_RETRY_AFTER_S,
            )
        self.held += count

    async def wait(self, count: int) -> None:
        """Hold `count` more as soon as they fit, after everyone who came before.

        Raises:
            TooLarge: `count` could never fit.
        """
        self.require_possible(count)
        if not self._waiting and self.held + count <= self.limit:
            self.held += count
            return
        ticket = (count, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        try:
            await ticket[1]
        except asyncio.CancelledError:
            if ticket[1].done() and not ticket[1].cancelled():
                self.give(count)  # granted and cancelled in the same turn of the loop
            else:
                self._waiting.remove(ticket)
                self.give(0)
            raise

    def give(self, count: int) -> None:
        """Return `count` units, to those who wait."""
        self.held -= count
        while self._waiting and self.held + self._waiting[0][0] <= self.limit:
            wanted, granted = self._waiting.popleft()
            self.held += wanted
            granted.set_result(None)


class Hold:
    """Units taken from one quota bit by bit; whatever is left goes back when its `with` ends."""

    def __init__(self, quota: Quota) -> None:
        self.count = 0
        self._quota = quota

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give(self.count)

    def take(self, count: int = 1) -> None:
        """As `Quota.take`."""
        self._quota.take(count)
        self.count += count

    def grow(self, total: int) -> None:
        """Hold `total` in all. Raises as `Quota.take`, and `TooLarge` for the total."""
        self._quota.require_possible(total)
        self.take(max(0, total - self.count))

    async def wait(self, count: int = 1) -> None:
        """As `Quota.wait`."""
        await self._quota.wait(count)
        self.count += count

    def give(self, count: int = 1) -> None:
        """Return `count` units early."""
        self._quota.give(count)
        self.count -= count


class Admission:
    """The one owner of the service's bounds. Used within one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.rollouts = Quota(settings.max_inflight, "rollouts in flight")
        self.buffered = Quota(settings.max_buffered_bytes, "bytes of request bodies")
        self.streams = Quota(settings.max_streams, "open streams")
        self.body_timeout_s = settings.body_timeout_s
        self.draining = False
        self._waits: set[asyncio.Timeout] = set()
        self._works: set[asyncio.Timeout] = set()

    def report_to(self, metrics: Metrics) -> None:
        """Add the gauges of what is in flight."""
        held = "Rollouts accepted and unanswered."
        metrics.add_gauge("inflight_rollouts", held, lambda: self.rollouts.held)
        metrics.add_gauge("open_streams", "Open NDJSON streams.", lambda: self.streams.held)
        buffered = "Request bodies held in memory."
        metrics.add_gauge("buffered_bytes", buffered, lambda: self.buffered.held)
        metrics.add_gauge("draining", "1 while stopping.", lambda: self.draining)

    def require_open(self) -> None:
        """Raises `ShuttingDown` where the service is draining."""
        if self.draining:
            message = "the service is stopping and takes no new rollouts"
            raise ShuttingDown(message, retry_after_s=_STOPPING_RETRY_AFTER_S)

    def drain(self) -> None:
        """Take nothing new from now on, and wait little for clients that send nothing."""
        self.draining = True
        soon = asyncio.get_running_loop().time() + _DRAIN_PATIENCE_S
        for clock in self._waits:
            when = clock.when()
            clock.reschedule(soon if when is None else min(when, soon))

    def cut(self) -> None:
        """End all work that is still going on; it is answered as refused for stopping."""
        now = asyncio.get_running_loop().time()
        for clock in self._works:
            clock.reschedule(now)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Judge something inside, for as long as the service runs.

        Raises:
            ShuttingDown: the service stopped first; what went on inside is cancelled.
        """
        try:
            async with _limit_time(None, self._works):
                yield
        except TimeoutError as error:
            message = "the service stopped before this was judged"
            raise ShuttingDown(message, retry_after_s=_STOPPING_RETRY_AFTER_S) from error

    def patience(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Wait for a client at most `seconds`, and half a second once the service drains.

        Raises:
            TimeoutError: the time is over.
        """
        limit_s = min(seconds, _DRAIN_PATIENCE_S) if self.draining else seconds
        return _limit_time(limit_s, self._waits)


@asynccontextmanager
async def _limit_time(seconds: float | None, clocks: set[asyncio.Timeout]) -> AsyncIterator[None]:
    """A timeout that is in `clocks` while it runs, so that others can bring it forward."""
    async with asyncio.timeout(seconds) as clock:
        clocks.add(clock)
        try:
            yield
        finally:
            clocks.discard(clock)
