"""Bounded concurrency to one server, handed out in the order of `line.py`."""

import asyncio
from typing import Final

from citemark_service.errors import DeadlineExceeded, JudgeOverloaded, JudgeUnreachable
from citemark_service.judges.scheduling.line import Line, Turn
from citemark_service.judges.wire.retry import seconds_left

DEFAULT_QUEUE: Final = 32_768
_RETRY_AFTER_S: Final = 1.0


class Displaced(JudgeUnreachable):
    """The server was given up while the call waited for it, or went silent over it."""


class Slots:
    """At most `limit` calls hold a slot, at most `queue` more wait for one.

    A free slot is handed to a waiting call at once, so that no later call can take it first and
    none is lost when the call it was handed to is cancelled in the same turn of the loop.
    """

    def __init__(self, limit: int, queue: int = DEFAULT_QUEUE) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue = queue
        self._line: Line[asyncio.Future[None]] = Line()

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return self._line.size

    @property
    def load(self) -> int:
        """Calls that hold a slot or wait for one."""
        return self.in_flight + self._line.size

    async def acquire(self, turn: Turn, deadline: float | None) -> None:
        """Take a slot, in turn; `release` it after the call.

        Raises:
            DeadlineExceeded: `deadline` (`time.monotonic()`) passed first.
            JudgeOverloaded: too many wait already.
            Displaced: see there.
        """
        left = seconds_left(deadline)
        if self.in_flight < self.limit:  # then nobody waits: who waited would have been served
            self.in_flight += 1
            return
        if self._line.size >= self._queue:
            raise JudgeOverloaded(
                f"{self._queue} calls wait for the judge already", retry_after_s=_RETRY_AFTER_S
            )
        await self._wait(turn, None if deadline is None else left)

    def release(self) -> None:
        """Give one slot back."""
        self.in_flight -= 1
        while self._line.size and self.in_flight < self.limit:
            ticket = self._line.pop()
            if not ticket.done():  # one that was cancelled in this turn of the loop is still here
                self.in_flight += 1
                ticket.set_result(None)

    def displace(self) -> None:
        """Send everyone who waits away with `Displaced`."""
        while self._line.size:
            ticket = self._line.pop()
            if not ticket.done():
                ticket.set_exception(Displaced("the judge's server went away"))

    async def _wait(self, turn: Turn, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        ticket = loop.create_future()
        self._line.push(turn, ticket)
        clock = None if seconds is None else loop.call_later(seconds, self._expire, turn, ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            self._withdraw(turn, ticket)
            raise
        finally:
            if clock is not None:
                clock.cancel()

    def _expire(self, turn: Turn, ticket: asyncio.Future[None]) -> None:
        if not ticket.done():
            self._line.discard(turn, ticket)
            late = DeadlineExceeded("the deadline passed while waiting for the judge")
            ticket.set_exception(late)

    def _withdraw(self, turn: Turn, ticket: asyncio.Future[None]) -> None:
        if ticket.cancelled():
            self._line.discard(turn, ticket)
        elif ticket.exception() is None:
            self.release()  # handed over and cancelled in the same turn of the loop
