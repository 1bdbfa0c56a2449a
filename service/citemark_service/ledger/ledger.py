"""The ledger as the service uses it: batches entries and writes them in a thread.

Entries that arrive while a transaction runs, or within 20 ms of its start, share the next one; the
first after a pause is written at once. `keep` waits for the commit, so a killed process loses no
rollout that was answered. If the database fails, `keep` returns after `wait_s` at the latest, and
the entry is retried for as long as there is room.
"""

import asyncio
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final, Self

from citemark_service.errors import LedgerError
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.reading import LedgerReader
from citemark_service.ledger.store import LedgerStore
from citemark_service.ledger.tables import characters_of
from citemark_service.score.rollout import ScoredRollout
from citemark_service.settings import Settings
from citemark_service.telemetry.logs import Outage
from citemark_service.telemetry.metrics import Metrics

_log = logging.getLogger("citemark.ledger")

_MIB: Final = 1024 * 1024
_ROOM: Final = 400 * _MIB  # characters: some ten thousand ordinary rollouts
_BATCH: Final = 256
_BATCH_CHARACTERS: Final = 16 * 1024 * 1024
# Between the starts of two transactions, each of which costs as much as storing two rollouts.
_PACE_S: Final = 0.02
_PAUSE_S: Final = 1.0  # between attempts while the database fails
_CLOSE_S: Final = 10.0


@dataclass(slots=True, eq=False)
class _Round:
    entries: list[ScoredRollout] = field(default_factory=list)
    characters: int = 0
    closed: bool = False  # full or being written; later entries go to the next round
    # Set when the entries are stored, or after `wait_s`: `keep` returns then.
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, entry: ScoredRollout, characters: int) -> None:
        self.entries.append(entry)
        self.characters += characters
        self.closed = len(self.entries) >= _BATCH or self.characters >= _BATCH_CHARACTERS


class Ledger:
    """Stores entries; an async context manager that belongs to one event loop.

    Args:
        wait_s: longest time that `keep` blocks, > 0.
        room: characters of waiting entries; entries beyond it are dropped and counted as lost.
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
        """Entries that are not stored yet."""
        return sum(len(each.entries) for each in self._rounds)

    @property
    def troubled(self) -> bool:
        """Whether the last attempt to write failed."""
        return self._outage.active

    async def __aenter__(self) -> Self:
        _log.info("rollouts are kept in %s", self._store.name)
        self._metrics.ledger_waiting.set_function(lambda: self.waiting)
        self._metrics.ledger_trouble.set_function(lambda: self.troubled)
        self._join_round()  # writing an empty round opens the store, so trouble shows at the start
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write waiting entries for at most 10 s, then close the store."""
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
        """Return when the entry is stored, or after `wait_s`. Raises nothing."""
        characters = characters_of(entry)
        if self._held + characters > self._room:
            self._metrics.ledger_rollouts["lost"].inc()
            return
        gathering = self._join_round()
        gathering.add(entry, characters)
        self._held += characters
        if not self._outage.active:  # during an outage every reward would wait in vain
            await gathering.over.wait()

    def _join_round(self) -> _Round:
        """The round that takes entries: the last one, or a new one if that is closed."""
        if self._rounds and not self._rounds[-1].closed:
            return self._rounds[-1]
        loop = asyncio.get_running_loop()
        self._rounds.append(_Round())
        loop.call_later(self._wait_s, self._rounds[-1].over.set)
        if self._writer is None or self._writer.done():
            # In an empty context: log fields and span of the rollout that starts it must not
            # appear on what is written for others.
            self._writer = loop.create_task(self._write(), context=Context())
        return self._rounds[-1]

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._rounds:
            first = self._rounds[0]
            early = self._began + _PACE_S - loop.time()
            # Gathers entries until the next transaction may begin. Sleep even for 0 s, so that
            # rollouts that finish in this turn of the loop join.
            await asyncio.sleep(0 if first.closed else max(0.0, early))
            if first.entries:  # an empty round only opens the store
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
    """The ledger that `settings.ledger` names; None where it is `off`. Raises as `open_engine`."""
    if settings.ledger == "off":
        return None
    store = LedgerStore(
        open_engine(settings.ledger),
        max_bytes=settings.ledger_max_mib * _MIB,
        max_days=settings.ledger_max_days,
    )
    return Ledger(store, metrics=metrics, wait_s=settings.ledger_wait_s, room=_ROOM)


def ledger_view(settings: Settings) -> LedgerReader | None:
    """A reader of the service's own ledger; None where it is `off`. Raises as `open_engine`."""
    if settings.ledger == "off":
        return None
    return LedgerReader(open_engine(settings.ledger, reading=True))
