"""Many small reads and writes as few large ones.

A training step starts hundreds of tasks in one turn of the event loop. Each would cost a round
trip to a thread or a server; together they cost one or two. While one read is under way, those
that come gather for the next; writes are never waited for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import Context
from typing import Any, Final

from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.guard import Guard

_READ_KEYS: Final = 2_000
_UNWRITTEN: Final = 50_000


class _Round:
    """Keys that are read together, and the read itself."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.task: asyncio.Task[Mapping[bytes, bytes]]


class Batches:
    """Stands before a guarded store; used within one event loop."""

    def __init__(self, store: Guard, *, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._gathering: _Round | None = None
        self._unwritten: dict[bytes, bytes] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._writer: asyncio.Task[None] | None = None

    async def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What the store has of these."""
        if self._gathering is None or len(self._gathering.keys) >= _READ_KEYS:
            self._gathering = _Round()
            self._gathering.task = self._started(self._read(self._gathering))
        gathering = self._gathering
        gathering.keys.extend(keys)
        # Shielded: one that leaves must not take the answer from the others.
        found = await asyncio.shield(gathering.task)
        return {key: found[key] for key in keys if key in found}

    def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Have these kept soon; beyond a bound of waiting entries they are forgotten."""
        if len(self._unwritten) >= _UNWRITTEN:
            self._metrics.cache_error("write")
            return
        self._unwritten.update(entries)
        if self._writer is None or self._writer.done():
            self._writer = self._started(self._write())

    async def aclose(self) -> None:
        """Write what waits, then close the store."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._store.aclose()

    async def _read(self, gathering: _Round) -> Mapping[bytes, bytes]:
        async with self._turn:
            if self._gathering is gathering:
                self._gathering = None
            return await self._store.read(gathering.keys)

    async def _write(self) -> None:
        while self._unwritten:
            entries, self._unwritten = self._unwritten, {}
            await self._store.write(entries)

    def _started(self, work: Any) -> asyncio.Task[Any]:
        # In a context of its own: it reads and writes for many, whoever starts it.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._running.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._running.discard)
        return task
