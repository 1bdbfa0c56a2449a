"""A bounded count of what is held at once. One event loop; no clock and no I/O."""

import asyncio
from collections import deque
from typing import Self

from citemark_service.errors import Overloaded, TooLarge

_RETRY_AFTER_S = 1.0


class Quota:
    """At most `limit` units are held at once; who may wait is served in order of arrival."""

    def __init__(self, limit: int, noun: str) -> None:
        self.limit = limit
        self.held = 0
        self._noun = noun
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> "Hold":
        """An empty hold; what is taken through it is given back when its `with` ends."""
        return Hold(self)

    def take(self, count: int) -> None:
        """Hold `count` more now.

        Raises:
            TooLarge: `count` could never fit.
            Overloaded: it does not fit at the moment.
        """
        self._refuse_impossible(count)
        if self.held + count > self.limit:
            raise Overloaded(
                f"{self.held} of {self.limit} {self._noun} are taken and {count} more are needed",
                retry_after_s=_RETRY_AFTER_S,
            )
        self.held += count

    async def wait(self, count: int) -> None:
        """Hold `count` more as soon as they fit, after everyone who came before.

        Raises:
            TooLarge: `count` could never fit.
        """
        self._refuse_impossible(count)
        if not self._waiting and self.held + count <= self.limit:
            self.held += count
            return
        ticket = (count, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        try:
            await ticket[1]
        except asyncio.CancelledError:
            self._withdraw(ticket)
            raise

    def give(self, count: int) -> None:
        """Return `count` units."""
        self.held -= count
        self._serve()

    def _refuse_impossible(self, count: int) -> None:
        if count > self.limit:
            raise TooLarge(f"{count} {self._noun} can never fit the limit of {self.limit}")

    def _serve(self) -> None:
        while self._waiting and self.held + self._waiting[0][0] <= self.limit:
            count, granted = self._waiting.popleft()
            self.held += count
            granted.set_result(None)

    def _withdraw(self, ticket: tuple[int, asyncio.Future[None]]) -> None:
        count, granted = ticket
        if granted.done() and not granted.cancelled():
            self.give(count)  # granted and cancelled in the same turn of the loop
            return
        self._waiting.remove(ticket)
        self._serve()


class Hold:
    """Units taken from one quota bit by bit; whatever is left goes back when it ends."""

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
        if total > self._quota.limit:
            self._quota.take(total)
        self.take(max(0, total - self.count))

    async def wait(self, count: int = 1) -> None:
        """As `Quota.wait`."""
        await self._quota.wait(count)
        self.count += count

    def give(self, count: int = 1) -> None:
        """Return `count` units early."""
        self._quota.give(count)
        self.count -= count
