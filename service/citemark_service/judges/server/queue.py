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

_RETRY_AFTER_S: Final = 1.0

T = TypeVar("T")


class Displaced(JudgeUnreachable):
    """The server was given up while the call waited for it, or went silent over it."""


class _Desk(Generic[T]):
    """What one caller waits for, by group."""

    def __init__(self) -> None:
        # Ordered dictionaries: plain ones look past every removed entry for their first.
        self.groups: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._run = 0

    def pop(self) -> T:
        affinity, group = next(iter(self.groups.items()))
        waiting, _ = group.popitem(last=False)
        self._run += 1
        if not group:
            del self.groups[affinity]
            self._run = 0
        elif self._run >= RUN:
            self.groups.move_to_end(affinity)
            self._run = 0
        return waiting


class WaitingLine(Generic[T]):
    """Everything that waits, each item once; items are hashable."""

    def __init__(self) -> None:
        self.size = 0
        """How many wait; kept up to date here, only read elsewhere."""
        self._priorities: dict[int, OrderedDict[str, _Desk[T]]] = {}

    def push(self, request: ChatRequest, item: T) -> None:
        """Let `item` wait; its place follows from the priority, caller and affinity."""
        desks = self._priorities.setdefault(request.priority, OrderedDict())
        desk = desks.get(request.caller)
        if desk is None:
            desk = desks[request.caller] = _Desk()
        desk.groups.setdefault(request.affinity, OrderedDict())[item] = None
        self.size += 1

    def pop(self) -> T:
        """Take out whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        if not self.size:
            raise IndexError("nothing waits")
        priority = min(self._priorities)
        desks = self._priorities[priority]
        caller, desk = next(iter(desks.items()))
        item = desk.pop()
        desks.move_to_end(caller)
        self.size -= 1
        self._drop_empty(priority, caller)
        return item

    def discard(self, request: ChatRequest, item: T) -> None:
        """Take `item` out, which came with `request`, where it still waits."""
        desks = self._priorities.get(request.priority)
        desk = desks.get(request.caller) if desks else None
        group = desk.groups.get(request.affinity) if desk else None
        if desk is None or group is None or item not in group:
            return
        del group[item]
        self.size -= 1
        if not group:
            del desk.groups[request.affinity]
            self._drop_empty(request.priority, request.caller)

    def _drop_empty(self, priority: int, caller: str) -> None:
        """Forget a caller and a priority for which nothing waits."""
        desks = self._priorities[priority]
        if not desks[caller].groups:
            del desks[caller]
        if not desks:
            del self._priorities[priority]


class Slots:
    """At most `limit` calls hold a slot, at most `queue` more wait for one.

    A free slot is handed to a waiting call at once, so that no later call can take it first and
    none is lost when the call it was handed to is cancelled in the same turn of the loop.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.in_flight = 0
        """Calls that hold a slot."""
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
            raise JudgeOverloaded(
                f"{self._queue} calls wait for the judge already", retry_after_s=_RETRY_AFTER_S
            )
        loop = asyncio.get_running_loop()
        ticket = loop.create_future()
        self._line.push(request, ticket)
        clock = loop.call_later(left_s, self._expire, request, ticket) if left_s else None
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.cancelled():
                self._line.discard(request, ticket)
            elif ticket.exception() is None:
                self.release()  # handed over and cancelled in the same turn of the loop
            raise
        finally:
            if clock is not None:
                clock.cancel()

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

    def _expire(self, request: ChatRequest, ticket: asyncio.Future[None]) -> None:
        if not ticket.done():
            self._line.discard(request, ticket)
            late = DeadlineExceeded("the deadline passed while waiting for the judge")
            ticket.set_exception(late)
