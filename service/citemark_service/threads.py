"""Work off the event loop, of which callers get equal shares."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")

INLINE: Final = 100_000
"""Bytes or characters of a caller that take the event loop a few milliseconds at most."""
# They share one interpreter: more would only make each, and the event loop, slower.
_SEATS: Final = 3
_SHARE: Final = _SEATS - 1
"""Seats of one caller, so that another finds one free."""


class FairThreads:
    """A few threads; callers take turns, one piece of work each. For one event loop."""

    def __init__(self) -> None:
        self._seated: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """What `work` returns; it goes on to its end where this is cancelled."""
        if self._has_room(caller):
            self._seated[caller] += 1
        else:
            await self._wait(caller)
        running = asyncio.ensure_future(asyncio.to_thread(work))
        running.add_done_callback(partial(self._end, caller))
        return await asyncio.shield(running)

    def _has_room(self, caller: str) -> bool:
        return self._seated.total() < _SEATS and self._seated[caller] < _SHARE

    async def _wait(self, caller: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(caller)  # granted and cancelled in the same turn of the loop
            raise

    def _end(self, caller: str, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits any more
        self._leave(caller)

    def _leave(self, caller: str) -> None:
        """Give the seat to the first caller in line who has room, and may come again last."""
        self._seated[caller] -= 1
        self._seated += Counter()  # drops the zeros
        while (name := next(filter(self._has_room, self._waiting), None)) is not None:
            turns = self._waiting.pop(name)
            turn = turns.popleft()
            if not turn.done():
                self._seated[name] += 1
                turn.set_result(None)
            if turns:
                self._waiting[name] = turns
