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
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Final, Self

from citemark_service.errors import LedgerError
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.reading import LedgerReader
from citemark_service.ledger.rows import characters_of
from citemark_service.ledger.store import LedgerStore
from citemark_service.score.rollout import ScoredRollout
from citemark_service.settings import Settings
from citemark_service.telemetry.logs import Outage
from citemark_service.telemetry.metrics import Metrics

_log = logging.getLogger("citemark.ledger")

_MIB: Final = 1024 * 1024
_ROOM: Final = 400 * _MIB
"""Characters that wait for a database in trouble: some ten thousand ordinary rollouts."""
_BATCH: Final = 256
_BATCH_CHARACTERS: Final = 16 * 1024 * 1024
_PACE_S: Final = 0.02
"""Between the beginnings of two transactions: each costs as much as keeping two rollouts does."""
_PAUSE_S: Final = 1.0
_CLOSE_S: Final = 10.0


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
        self.entries.append(entry)
        self.characters += characters
        self.closed = len(self.entries) >= _BATCH or self.characters >= _BATCH_CHARACTERS


class Ledger:
    """Keeps entries; used within one event loop, as a context manager.

    Args:
        wait_s: how long an answer waits for its entry at most, > 0.
        room: characters of entries that may wait; beyond it they are lost, and counted.
    """

    def __init__(self, store: LedgerStore, *, metrics: Metrics, wait_s: float, room: int) -> None:
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
        self._join_round()  # a round of nothing yet: writing it opens the store
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
        gathering = self._join_round()
        gathering.add(entry, characters)
        self._held += characters
        if not self._outage.active:  # else each answer would wait in vain
            await gathering.over.wait()

    def _join_round(self) -> _Round:
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
        loop = asyncio.get_running_loop()
        while self._rounds:
            first = self._rounds[0]
            early = self._began + _PACE_S - loop.time()
            # Lets it gather until the next transaction may begin; even of a full one, those that
            # finished in this turn come along.
            await asyncio.sleep(0 if first.closed else max(0.0, early))
            if first.entries:  # else it only opens the store
                self._began = loop.time()
            first.closed = True
            try:
                written = await loop.run_in_executor(self._thread, self._store.write, first.entries)
            except LedgerError as error:
                self._outage.begin("rollouts are not being kept, rewards go on: %s", error)
                for waiting in self._rounds:
                    waiting.over.set()
                await asyncio.sleep(_PAUSE_S)
                continue
            outcomes = self._metrics.ledger_rollouts
            outcomes["kept"].inc(written.kept)
            outcomes["again"].inc(written.again)
            outcomes["lost"].inc(written.refused)
            self._outage.end("ledger %s: works again", self._store.name)
            self._rounds.popleft()
            self._held -= first.characters
            first.over.set()
            if self._store.untidy:
                try:
                    await loop.run_in_executor(self._thread, self._store.tidy)
                except LedgerError as error:
                    _log.error("the oldest rollouts cannot be deleted: %s", error)


def ledger_of(settings: Settings, metrics: Metrics) -> Ledger | None:
    """The ledger that `settings.ledger` names; None where it is off.

    Raises:
        SettingsError: it names no database, one without a driver here, or a missing folder.
    """
    if settings.ledger == "off":
        return None
    store = LedgerStore(
        open_engine(settings.ledger),
        max_bytes=settings.ledger_max_mib * _MIB,
        max_days=settings.ledger_max_days,
    )
    return Ledger(store, metrics=metrics, wait_s=settings.ledger_wait_s, room=_ROOM)


def ledger_view(settings: Settings) -> LedgerReader | None:
    """A reader of the service's own ledger, for its pages; None where it is off.

    Raises:
        SettingsError: as `open_engine`.
    """
    if settings.ledger == "off":
        return None
    return LedgerReader(open_engine(settings.ledger, reading=True))
