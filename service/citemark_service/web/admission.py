"""What the service lets in: its quotas, and the draining that ends all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from citemark_service.errors import ShuttingDown
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.quota import Quota

_DRAIN_PATIENCE_S = 0.5
_RETRY_AFTER_S = 5.0


class Admission:
    """The one owner of the service's bounds; all of it belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.rollouts = Quota(settings.max_inflight, "rollouts in flight")
        self.buffered = Quota(settings.max_buffered_bytes, "bytes of request bodies")
        self.streams = Quota(settings.max_streams, "open streams")
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
        """Let new work in.

        Raises:
            ShuttingDown: the service is draining.
        """
        if self.draining:
            raise ShuttingDown(
                "the service is stopping and takes no new rollouts", retry_after_s=_RETRY_AFTER_S
            )

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
            async with asyncio.timeout(None) as clock:
                with _listed(clock, self._works):
                    yield
        except TimeoutError as error:
            raise ShuttingDown(
                "the service stopped before this was judged", retry_after_s=_RETRY_AFTER_S
            ) from error

    @asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Wait for a client at most `seconds`, and half a second once the service drains.

        Raises:
            TimeoutError: the time is over.
        """
        limit_s = min(seconds, _DRAIN_PATIENCE_S) if self.draining else seconds
        async with asyncio.timeout(limit_s) as clock:
            with _listed(clock, self._waits):
                yield


@contextmanager
def _listed(clock: asyncio.Timeout, clocks: set[asyncio.Timeout]) -> Iterator[None]:
    clocks.add(clock)
    try:
        yield
    finally:
        clocks.discard(clock)
