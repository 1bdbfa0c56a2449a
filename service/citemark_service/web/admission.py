"""Limits on what the service holds at once, and its draining."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Self, TypeVar

from cachetools import TTLCache

from citemark_service.errors import (
    LedgerError,
    LedgerUnavailable,
    Overloaded,
    ShuttingDown,
    TooLarge,
    WrongTokens,
)
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_FULL_RETRY_AFTER_S = 1.0
_STOPPING_RETRY_AFTER_S = 5.0
_DRAIN_PATIENCE_S = 0.5


class Quota:
    """At most `limit` units held at once, granted in order of arrival. For one event loop."""

    def __init__(self, limit: int, noun: str) -> None:
        self.limit = limit
        self.held = 0
        self._noun = noun
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> "Hold":
        return Hold(self)

    def require_possible(self, count: int) -> None:
        """Raises `TooLarge` where `count` is over the limit."""
        if count > self.limit:
            raise TooLarge(f"{count} {self._noun} can never fit the limit of {self.limit}")

    def take(self, count: int) -> None:
        """Hold `count` more, or raise `TooLarge` (it never fits) or `Overloaded` (not now)."""
        self.require_possible(count)
        if self.held + count > self.limit:
            raise Overloaded(
                f"{self.held} of {self.limit} {self._noun} are taken and {count} more are needed",
                retry_after_s=_FULL_RETRY_AFTER_S,
            )
        self.held += count

    async def wait(self, count: int) -> None:
        """Hold `count` more once they fit, after earlier waiters. Raises `TooLarge`."""
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
                # The next one may want less, and fit already.
                self.give(0)
            raise

    def give(self, count: int) -> None:
        """Return `count` units, and grant what fits now."""
        self.held -= count
        # Only the first in line: small requests must not overtake a large one forever.
        while self._waiting and self.held + self._waiting[0][0] <= self.limit:
            wanted, granted = self._waiting.popleft()
            self.held += wanted
            granted.set_result(None)


class Hold:
    """Units taken from one quota bit by bit; the rest goes back when its `with` ends."""

    def __init__(self, quota: Quota) -> None:
        self.count = 0
        self._quota = quota

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give(self.count)

    def take(self, count: int = 1) -> None:
        self._quota.take(count)
        self.count += count

    def grow(self, total: int) -> None:
        """Hold `total` in all. Raises as `Quota.take`."""
        # `take` compares only the increase with the limit.
        self._quota.require_possible(total)
        self.take(max(0, total - self.count))

    async def wait(self, count: int = 1) -> None:
        await self._quota.wait(count)
        self.count += count

    def give(self, count: int = 1) -> None:
        self._quota.give(count)
        self.count -= count


class Admission:
    """The service's limits. For one event loop."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.rollouts = Quota(settings.max_inflight, "rollouts in flight")
        self.buffered = Quota(settings.max_buffered_bytes, "bytes of request bodies")
        self.streams = Quota(settings.max_streams, "open streams")
        self.turn = asyncio.Lock()  # to begin with a body
        self.draining = False
        # Running time limits on clients and on judging, which `drain` and `cut` bring forward.
        self._waits: set[asyncio.Timeout] = set()
        self._works: set[asyncio.Timeout] = set()
        held = "Rollouts accepted and unanswered."
        metrics.add_gauge("inflight_rollouts", held, lambda: self.rollouts.held)
        metrics.add_gauge("open_streams", "Open NDJSON streams.", lambda: self.streams.held)
        buffered = "Request bodies held in memory."
        metrics.add_gauge("buffered_bytes", buffered, lambda: self.buffered.held)
        metrics.add_gauge("draining", "1 while stopping.", lambda: self.draining)

    def require_open(self) -> None:
        """Raises `ShuttingDown` while draining."""
        if self.draining:
            message = "the service is stopping and takes no new rollouts"
            raise ShuttingDown(message, retry_after_s=_STOPPING_RETRY_AFTER_S)

    def drain(self) -> None:
        """Accept nothing new, and wait at most half a second for silent clients."""
        self.draining = True
        soon = asyncio.get_running_loop().time() + _DRAIN_PATIENCE_S
        for clock in self._waits:
            when = clock.when()
            clock.reschedule(soon if when is None else min(when, soon))

    def cut(self) -> None:
        """End all running work; it is answered with `ShuttingDown`."""
        now = asyncio.get_running_loop().time()
        for clock in self._works:
            clock.reschedule(now)

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Run the block, which `cut` cancels; then raises `ShuttingDown`."""
        try:
            async with _limit_time(None, self._works):
                yield
        except TimeoutError as error:
            message = "the service stopped before this was judged"
            raise ShuttingDown(message, retry_after_s=_STOPPING_RETRY_AFTER_S) from error

    def patience(self, seconds: float) -> AbstractAsyncContextManager[None]:
        """Limit a wait for a client, while draining to 0.5 s at most. Raises `TimeoutError`."""
        limit_s = min(seconds, _DRAIN_PATIENCE_S) if self.draining else seconds
        return _limit_time(limit_s, self._waits)


@asynccontextmanager
async def _limit_time(seconds: float | None, clocks: set[asyncio.Timeout]) -> AsyncIterator[None]:
    """A timeout that is in `clocks` while it runs, where others can bring it forward."""
    async with asyncio.timeout(seconds) as clock:
        clocks.add(clock)
        try:
            yield
        finally:
            clocks.discard(clock)


_GUESSERS: Final = 10_000
_SHUT_OUT_S: Final = 60.0
_KNOWN_S: Final = 3600.0


class Guesses:
    """Wrong tokens by address. For one event loop.

    An address that showed the right one within the hour is never shut out: behind one address
    there may be many callers.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._wrong: TTLCache[str, int] = TTLCache(_GUESSERS, _SHUT_OUT_S)
        self._known: TTLCache[str, bool] = TTLCache(_GUESSERS, _KNOWN_S)

    def require_few(self, address: str) -> None:
        """Raises `WrongTokens`; to be asked before a token is looked at."""
        if self._wrong.get(address, 0) >= self._limit and address not in self._known:
            message = f"too many wrong tokens; none is looked at for {_SHUT_OUT_S:g} s"
            raise WrongTokens(message, retry_after_s=_SHUT_OUT_S)

    def count(self, address: str, *, right: bool) -> None:
        if right:
            self._known[address] = True
        else:
            self._wrong[address] = self._wrong.get(address, 0) + 1


T = TypeVar("T")

# The pages share the process with the rewards, which must never wait for them.
_THREADS: Final = 2
_WAITING: Final = 16
_WAIT_S: Final = 15.0


class Reads:
    """Runs functions off the event loop; one for the service. Used within one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pages")
        self._seats = Quota(_THREADS + _WAITING, "pages being made")

    async def run(self, read: Callable[[], T]) -> T:
        """What `read` returns; it has to end on its own, and soon.

        Raises:
            Overloaded: too many pages are being made.
            LedgerUnavailable: `read` raised `LedgerError`, or did not end within 15 s.
        """
        self._seats.take(1)
        work = asyncio.get_running_loop().run_in_executor(self._threads, read)
        # The seat is free when the thread is, which may be later than the answer.
        work.add_done_callback(lambda _: self._seats.give(1))
        try:
            # A thread cannot be cancelled: the shield keeps the future of one that is late.
            return await asyncio.wait_for(asyncio.shield(work), _WAIT_S)
        except TimeoutError as error:
            late = f"This page cannot be made now: the page was not made within {_WAIT_S:g} s"
            raise LedgerUnavailable(late) from error
        except LedgerError as error:
            raise LedgerUnavailable(f"This page cannot be made now: {error}") from error

    def close(self) -> None:
        # Without waiting: reads that have started end on their own.
        self._threads.shutdown(wait=False, cancel_futures=True)
