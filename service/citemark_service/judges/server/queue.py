"""Bounded concurrency to one server, and the order of waiting calls.

Lower priority numbers come first. Callers of one priority take turns, one call each. A caller's
calls are served group by group in order of arrival, while the server still has the group's
prefix in its cache. Every operation takes constant time.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Final, Generic, TypeVar

from citemark_schemas import FailureKind
from citemark_service.errors import DeadlineExceeded, JudgeOverloaded, JudgeUnreachable
from citemark_service.judges.chat import ChatRequest

# Calls of one group in a row before the caller's other groups have their turn, so that an endless
# group does not starve them; a group of eight makes 16 calls.
RUN: Final = 64

T = TypeVar("T")


class Displaced(JudgeUnreachable, kind=FailureKind.UNREACHABLE):
    """The server was ejected while the call waited for it, or fell silent during the call."""


# Ordered dictionaries, since finding the first key of a plain one skips all removed entries.
class _Groups(OrderedDict[str, OrderedDict[T, None]]):
    """The waiting items of one caller, by affinity."""

    run = 0  # calls of the first group served in a row


class WaitingLine(Generic[T]):
    """The waiting items, which are hashable and distinct."""

    def __init__(self) -> None:
        self.size = 0  # read-only for others
        self._priorities: dict[int, OrderedDict[str, _Groups[T]]] = {}

    def push(self, request: ChatRequest, item: T) -> None:
        """Add `item`, ordered by the priority, caller and affinity of `request`."""
        callers = self._priorities.setdefault(request.priority, OrderedDict())
        groups = callers.get(request.caller)
        if groups is None:
            groups = callers[request.caller] = _Groups()
        groups.setdefault(request.affinity, OrderedDict())[item] = None
        self.size += 1

    def pop(self) -> T:
        """Remove and return the next item; one must wait."""
        priority = min(self._priorities)
        callers = self._priorities[priority]
        caller, groups = next(iter(callers.items()))
        affinity, group = next(iter(groups.items()))
        item, _ = group.popitem(last=False)
        self.size -= 1
        callers.move_to_end(caller)  # the next call is another caller's
        groups.run += 1
        if group and groups.run >= RUN:
            groups.move_to_end(affinity)
        if not group or groups.run >= RUN:
            groups.run = 0
        self._drop_empty(priority, caller, affinity)
        return item

    def discard(self, request: ChatRequest, item: T) -> None:
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
    """At most `limit` calls hold a slot, and at most `queue` more wait for one.

    `release` hands the slot to a waiting call directly, so that no later call can take it first.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._queue = queue
        self._line: WaitingLine[asyncio.Future[None]] = WaitingLine()

    @property
    def waiting(self) -> int:
        return self._line.size

    @property
    def load(self) -> int:
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
        if self.in_flight < self.limit:  # then no call waits: `release` hands free slots over
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
                self.release()  # got its slot and was cancelled in the same turn of the loop
            if isinstance(error, TimeoutError):
                late = "the deadline passed while waiting for the judge"
                raise DeadlineExceeded(late) from error
            raise

    def release(self) -> None:
        self.in_flight -= 1
        while self._line.size and self.in_flight < self.limit:
            ticket = self._line.pop()
            if not ticket.done():  # it may be cancelled but not yet discarded in this turn
                self.in_flight += 1
                ticket.set_result(None)

    def displace(self) -> None:
        """Fail all waiting calls with `Displaced`."""
        while self._line.size:
            ticket = self._line.pop()
            if not ticket.done():
                ticket.set_exception(Displaced("the judge's server went away"))
