"""Blocking reads in threads of their own: few at once, few waiting, each for a bounded time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

from citemark_service.errors import LedgerError, LedgerUnavailable
from citemark_service.web.admission import Quota

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Without waiting: reads that have started end on their own.
        self._threads.shutdown(wait=False, cancel_futures=True)
