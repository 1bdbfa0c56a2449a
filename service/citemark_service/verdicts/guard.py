"""A store's trouble is a miss: no reward ever waits long for it, fails by it or changes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import TypeVar

from citemark_service.telemetry.metrics import CacheOperation, Metrics
from citemark_service.verdicts.store import Store, StoreError

T = TypeVar("T")

_log = logging.getLogger("citemark.verdicts")


class Guard:
    """A store with a time limit that answers nothing while it is in trouble.

    After a failure it is left alone for `pause_s`. The log has one line when the trouble begins
    and one when it is over; the metrics hears of each failure.
    """

    def __init__(
        self, store: Store, *, metrics: Metrics, timeout_s: float = 1.0, pause_s: float = 1.0
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._resume_at = 0.0
        self._troubled = False

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What the store has of these; nothing where it cannot be asked."""
        if self._paused():
            return {}
        return await self._tried("read", self._store.read(keys)) or {}

    async def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Keep these where the store can; else they are forgotten."""
        if not self._paused():
            await self._tried("write", self._store.write(entries))

    async def aclose(self) -> None:
        """Close the store, waiting for it as long as for any call."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._store.aclose()
        except TimeoutError:
            _log.warning("verdict store %s did not close", self._store.name)

    def _paused(self) -> bool:
        return time.monotonic() < self._resume_at

    async def _tried(self, operation: CacheOperation, call: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call
        except (StoreError, TimeoutError) as error:
            self._failed(operation, error)
            return None
        self._succeeded()
        return result

    def _failed(self, operation: CacheOperation, error: Exception) -> None:
        self._resume_at = time.monotonic() + self._pause_s
        self._metrics.cache_error(operation)
        if not self._troubled:
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            _log.warning("verdict store %s: cannot %s: %s", self._store.name, operation, reason)
        self._troubled = True

    def _succeeded(self) -> None:
        if self._troubled:
            _log.info("verdict store %s: works again", self._store.name)
        self._troubled = False
