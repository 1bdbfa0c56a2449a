"""Work off the event loop, of which callers get equal shares."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

INLINE: Final = 100_000
"""Bytes or characters of a caller that take the event loop a few milliseconds at most."""
# They share one interpreter: more would only make each, and the event loop, slower.
_SEATS: Final = 3


class FairThreads:
    """A few threads; callers take turns, one piece of work each. For one event loop."""

    def __init__(self) -> None:
        self._free = _SEATS
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """What `work` returns; it goes on to its end where this is cancelled."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(caller)
        running = asyncio.ensure_future(asyncio.to_thread(work))
        running.add_done_callback(self._leave)
        return await asyncio.shield(running)

    async def _wait(self, caller: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # granted and cancelled in the same turn of the loop
            raise

    def _leave(self, done: asyncio.Future[Any]) -> None:
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits any more
        self._pass_on()

    def _pass_on(self) -> None:
        """Give a seat to the next caller that still waits."""
        while self._waiting:
            caller, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            self._waiting.move_to_end(caller)
            if not turns:
                del self._waiting[caller]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
