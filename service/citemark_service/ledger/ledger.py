"""The ledger as the service uses it: what is answered was kept before, and none waits for long.

Entries of one moment share a transaction: while one is written, and until some milliseconds after
it began, those that come gather for the next; the first after a pause goes at once. Whoever scored
a rollout waits for its transaction, so that a killed process loses nothing that was answered. A
database in trouble costs that promise, never a reward: after `wait_s` the reward goes out, and its
entry is tried again for as long as there is room.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Final, NamedTuple, Protocol, Self

from citemark_service.errors import LedgerError
from citemark_service.ledger.entry import characters_of
from citemark_service.score.rollout import ScoredRollout
from citemark_service.telemetry.logs import Outage
from citemark_service.telemetry.metrics import Metrics

_log = logging.getLogger("citemark.ledger")

_BATCH: Final = 256
_BATCH_CHARACTERS: Final = 16 * 1024 * 1024
_PACE_S: Final = 0.02
"""Between the beginnings of two transactions: each costs as much as keeping two rollouts does."""
_PAUSE_S: Final = 1.0
_CLOSE_S: Final = 10.0


class Written(NamedTuple):
    """What became of a batch: how many entries of each kind."""

    kept: int = 0
    again: int = 0
    """Re-posts of what is kept already."""
    refused: int = 0
    """Those that no database would take."""


class Store(Protocol):
    """Where entries go; its methods block."""

    @property
    def name(self) -> str:
        """What a log may call it."""
        ...

    def write(self, entries: Sequence[ScoredRollout]) -> Written:
        """Keep all but re-posts and those that can never be; of none, open what it needs.
        Raises `LedgerError`."""
        ...

    @property
    def untidy(self) -> bool:
        """Whether `tidy` would do anything now; does not block."""
        ...

    def tidy(self) -> None:
        """Do what can wait until those that wait have been told. Raises `LedgerError`."""
        ...

    def close(self) -> None:
        """Release what is open."""
        ...


class _Round:
    """Entries that share a transaction, and those who wait for it."""

    def __init__(self) -> None:
        self.entries: list[ScoredRollout] = []
        self.characters = 0
        self.closed = False
        """True once it takes no more: it is full, or under way."""
        self.over = asyncio.Event()
        """Set when the entries are kept, or when they have been waited for long enough."""

    def add(self, entry: ScoredRollout, characters: int) -> None:
        """Take one more."""
        self.entries.append(entry)
        self.characters += characters
        self.closed = len(self.entries) >= _BATCH or self.characters >= _BATCH_CHARACTERS


class Ledger:
    """Keeps entries; used within one event loop, as a context manager.

    Args:
        wait_s: how long an answer waits for its entry at most, > 0.
        room: characters of entries that may wait; beyond it they are lost, and counted.
    """

    def __init__(self, store: Store, *, metrics: Metrics, wait_s: float, room: int) -> None:
        self._store = store
        self._metrics = metrics
        self._wait_s = wait_s
        self._room = room
        self._rounds: deque[_Round] = deque()
        self._held = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._writer: asyncio.Task[None] | None = None
        self._outage = Outage(_log, logging.ERROR)
        self._began = float("-inf")

    @property
    def waiting(self) -> int:
        """Rollouts that are not kept yet."""
        return sum(len(each.entries) for each in self._rounds)

    @property
    def troubled(self) -> bool:
        """Whether the database could not be used when it last was to be."""
        return self._outage.active

    async def __aenter__(self) -> Self:
        """Say where rollouts are kept, and open it now, so that trouble is told at the start."""
        _log.info("rollouts are kept in %s", self._store.name)
        self._metrics.ledger_waiting.set_function(lambda: self.waiting)
        self._metrics.ledger_trouble.set_function(lambda: self.troubled)
        self._joined()  # a round of nothing yet: writing it opens the store
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what waits, for at most 10 s, and close the store."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=_CLOSE_S if self.waiting else 0)
            self._writer.cancel()
        if lost := self.waiting:
            _log.error("ledger %s: %d rollouts were not kept in time", self._store.name, lost)
            self._metrics.ledger_rollouts["lost"].inc(lost)
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        await asyncio.wait([closing], timeout=_CLOSE_S)
        self._thread.shutdown(wait=False)

    async def keep(self, entry: ScoredRollout) -> None:
        """Return when the entry is kept, or when that takes too long. Raises nothing."""
        characters = characters_of(entry)
        if self._held + characters > self._room:
            self._metrics.ledger_rollouts["lost"].inc()
            return
        joined = self._joined()
        joined.add(entry, characters)
        self._held += characters
        if not self._outage.active:  # else each answer would wait in vain
            await joined.over.wait()

    def _joined(self) -> _Round:
        """The round that still gathers: the last one, unless it is under way or full."""
        if self._rounds and not self._rounds[-1].closed:
            return self._rounds[-1]
        loop = asyncio.get_running_loop()
        self._rounds.append(_Round())
        loop.call_later(self._wait_s, self._rounds[-1].over.set)
        if self._writer is None or self._writer.done():
            # In a context of its own: it does not write for the rollout alone that starts it.
            self._writer = loop.create_task(self._write(), context=Context())
        return self._rounds[-1]

    async def _write(self) -> None:
        while self._rounds:
            first = self._rounds[0]
            await self._paced(first)
            first.closed = True
            if await self._written(first.entries):
                self._rounds.popleft()
                self._held -= first.characters
                first.over.set()
                await self._tidied()
            else:
                for waiting in self._rounds:
                    waiting.over.set()
                await asyncio.sleep(_PAUSE_S)

    async def _paced(self, gathering: _Round) -> None:
        """Let a round gather until the next transaction may begin; a full one may at once."""
        loop = asyncio.get_running_loop()
        early = self._began + _PACE_S - loop.time()
        # Even of no time: those that finished in this turn come along.
        await asyncio.sleep(0 if gathering.closed else max(0.0, early))
        if gathering.entries:  # else it only opens the store
            self._began = loop.time()

    async def _written(self, entries: Sequence[ScoredRollout]) -> bool:
        loop = asyncio.get_running_loop()
        try:
            written = await loop.run_in_executor(self._thread, self._store.write, entries)
        except LedgerError as error:
            self._outage.begin("rollouts are not being kept, rewards go on: %s", error)
            return False
        outcomes = self._metrics.ledger_rollouts
        outcomes["kept"].inc(written.kept)
        outcomes["again"].inc(written.again)
        outcomes["lost"].inc(written.refused)
        self._outage.end("ledger %s: works again", self._store.name)
        return True

    async def _tidied(self) -> None:
        if not self._store.untidy:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._store.tidy)
        except LedgerError as error:
            _log.error("the oldest rollouts cannot be deleted: %s", error)
