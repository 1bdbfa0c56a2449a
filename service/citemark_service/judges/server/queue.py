"""Bounded concurrency to one server, and the order in which waiting calls are served.

Lower priority numbers come first. Callers of one priority take turns, one call each. What one
caller waits for is served group by group in order of arrival, so that a group's calls follow
each other while the server still has their common prefix. Every operation takes constant time.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from citemark_service.errors import DeadlineExceeded, JudgeOverloaded, JudgeUnreachable
from citemark_service.judges.chat import ChatRequest

RUN: Final = 64
"""Calls of one group served in a row before the caller's other groups have their turn, so that
a group that never ends does not keep them out; a group of eight makes 16 calls."""

T = TypeVar("T")


class Displaced(JudgeUnreachable):
    """The server was given up while the call waited for it, or went silent over it."""


# Ordered dictionaries: plain ones look past every removed entry for their first.
class _Groups(OrderedDict[str, OrderedDict[T, None]]):
    """What one caller waits for, by affinity."""

    run = 0
    """Calls of the first group that were served in a row."""


class WaitingLine(Generic[T]):
    """Everything that waits, each item once; items are hashable."""

    def __init__(self) -> None:
        self.size = 0
        """How many wait; kept up to date here, only read elsewhere."""
        self._priorities: dict[int, OrderedDict[str, _Groups[T]]] = {}

    def push(self, request: ChatRequest, item: T) -> None:
        """Let `item` wait; its place follows from the priority, caller and affinity."""
        callers = self._priorities.setdefault(request.priority, OrderedDict())
        groups = callers.get(request.caller)
        if groups is None:
            groups = callers[request.caller] = _Groups()
        groups.setdefault(request.affinity, OrderedDict())[item] = None
        self.size += 1

    def pop(self) -> T:
        """Take out whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        if not self.size:
            raise IndexError("nothing waits")
        priority = min(self._priorities)
        callers = self._priorities[priority]
        caller, groups = next(iter(callers.items()))
        affinity, group = next(iter(groups.items()))
        item, _ = group.popitem(last=False)
        self.size -= 1
        callers.move_to_end(caller)
        groups.run += 1
        if group and groups.run >= RUN:
            groups.move_to_end(affinity)
        if not group or groups.run >= RUN:
            groups.run = 0
        self._drop_empty(priority, caller, affinity)
        return item

    def discard(self, request: ChatRequest, item: T) -> None:
        """Take `item` out, which came with `request`, where it still waits."""
        callers = self._priorities.get(request.priority)
        groups = callers.get(request.caller) if callers else None
        if groups is not None and item in groups.get(request.affinity, ()):
            del groups[request.affinity][item]
            self.size -= 1
            self._drop_empty(request.priority, request.caller, request.affinity)

    def _drop_empty(self, priority: int, caller: str, affinity: str) -> None:
        callers = self._priorities[priority]
        groups = callers[caller]
        if not groups[affinity]:
            del groups[affinity]
        if not groups:
            del callers[caller]
        if not callers:
            del self._priorities[priority]


class Slots:
    """At most `limit` calls hold a slot, at most `queue` more wait for one.

    A free slot is handed to a waiting call at once, so that no later call can take it first and
    none is lost when the call it was handed to is cancelled in the same turn of the loop.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue = queue
        self._line: WaitingLine[asyncio.Future[None]] = WaitingLine()

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return self._line.size

    @property
    def load(self) -> int:
        """Calls that hold a slot or wait for one."""
        return self.in_flight + self._line.size

    async def acquire(self, request: ChatRequest, deadline: float | None) -> None:
        """Take a slot, in turn; `release` it after the call.

        Raises:
            DeadlineExceeded: `deadline` (`time.monotonic()`) passed first.
            JudgeOverloaded: too many wait already.
            Displaced: `displace` was called.
        """
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise DeadlineExceeded("the deadline passed before the judge was asked")
        if self.in_flight < self.limit:  # then nobody waits: who waited would have been served
            self.in_flight += 1
            return
        if self._line.size >= self._queue:
            message = f"{self._queue} calls wait for the judge already"
            raise JudgeOverloaded(message, retry_after_s=1.0)
        ticket = asyncio.get_running_loop().create_future()
        self._line.push(request, ticket)
        try:
            async with asyncio.timeout(left_s):
                await ticket
        except (asyncio.CancelledError, TimeoutError) as error:
            if ticket.cancelled():
                self._line.discard(request, ticket)
            elif ticket.exception() is None:
                self.release()  # handed over and cancelled in the same turn of the loop
            if isinstance(error, TimeoutError):
                late = "the deadline passed while waiting for the judge"
                raise DeadlineExceeded(late) from error
            raise

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
