"""Persistent stores of verdicts: their interface, the batching in front, and an SQLite file.

Services on one machine may share the file. `diskcache` has had no release since 2023 and unpickles
what it reads; `aiosqlite` changes threads for each statement, where this does so for a batch.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from citemark_service.errors import CitemarkError
from citemark_service.telemetry.logs import Outage
from citemark_service.telemetry.metrics import CacheOperation, Metrics

A = TypeVar("A")
T = TypeVar("T")

_CALL_KEYS: Final = 500  # per call to the store
_READ_KEYS: Final = 2_000  # gathered for one batch
_UNWRITTEN: Final = 50_000  # entries that wait to be written; above this they are dropped
_log = logging.getLogger("citemark.verdicts")
# With WAL and NORMAL a crash of the machine may lose the last verdicts, never the file.
_SETUP: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS verdicts (
    age INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    value BLOB NOT NULL
)
"""
# Without free pages, since SQLite reuses the pages of deleted rows.
USED_BYTES: Final = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


class StoreError(CitemarkError):
    """The store cannot be used now. The cache handles it as a miss."""


class VerdictStore(Protocol):
    """Bytes by key, bounded by the store itself.

    At most one read and one write run at a time, with 1 to 500 keys each. Failures of the file
    or the server are raised as `StoreError`.
    """

    name: str  # in the log, so without a password

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """The values of the keys that have one."""

    async def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Store `entries`; may evict others."""

    async def aclose(self) -> None:
        """Close the file or the connections; raises nothing."""


class BatchedStore:
    """Batches the calls to a store, each limited to `timeout_s`; a failure is a miss.

    A training step starts hundreds of tasks in one turn of the event loop, each of which would
    cost a round trip. So keys gather for the next read while one is running; writes are not
    awaited.

    After a failure the store is not called for `pause_s`. The log has one line at the beginning
    and one at the end of an outage; the metrics count each failure.
    """

    def __init__(
        self, store: VerdictStore, *, metrics: Metrics, timeout_s: float = 1.0, pause_s: float = 1.0
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._resume_at = 0.0
        self._outage = Outage(_log)
        self._read_turn = asyncio.Lock()
        self._next_read: tuple[list[bytes], asyncio.Task[Mapping[bytes, bytes]]] | None = None
        self._unwritten: dict[bytes, bytes] = {}
        self._writer: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that the store has; none during an outage."""
        if self._next_read is None or len(self._next_read[0]) >= _READ_KEYS:
            gathered: list[bytes] = []
            self._next_read = (gathered, self._start(self._read_batch(gathered)))
        gathered, task = self._next_read
        gathered.extend(keys)
        # Shielded: a caller that is cancelled must not cancel the read for the others.
        found = await asyncio.shield(task)
        return {key: found[key] for key in keys if key in found}

    def write(self, entries: Mapping[bytes, bytes]) -> None:
        """Queue `entries`; a full queue drops them and counts an error."""
        if len(self._unwritten) >= _UNWRITTEN:
            self._metrics.cache_errors["write"].inc()
            return
        self._unwritten.update(entries)
        if self._writer is None or self._writer.done():
            self._writer = self._start(self._write_batches())

    async def aclose(self) -> None:
        """Write what is queued, then close the store."""
        await asyncio.gather(*self._running, return_exceptions=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._store.aclose()
        except TimeoutError:
            _log.warning("verdict store %s did not close", self._store.name)

    async def _read_batch(self, keys: list[bytes]) -> Mapping[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        async with self._read_turn:
            # From here on `keys` must not grow: later callers start another batch.
            if self._next_read is not None and self._next_read[0] is keys:
                self._next_read = None
            for start in range(0, len(keys), _CALL_KEYS):
                part = keys[start : start + _CALL_KEYS]
                found.update(await self._attempt("read", self._store.read, part) or {})
        return found

    async def _write_batches(self) -> None:
        while self._unwritten:
            keys = tuple(islice(self._unwritten, _CALL_KEYS))
            part = {key: self._unwritten.pop(key) for key in keys}
            await self._attempt("write", self._store.write, part)

    async def _attempt(
        self, operation: CacheOperation, call: Callable[[A], Awaitable[T]], argument: A
    ) -> T | None:
        """The call's result; None where it failed, or during the pause after a failure."""
        if time.monotonic() < self._resume_at:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call(argument)
        except (StoreError, TimeoutError) as error:
            self._resume_at = time.monotonic() + self._pause_s
            self._metrics.cache_errors[operation].inc()
            reason = str(error) or f"no answer within {self._timeout_s:g} s"
            what = "verdict store %s: cannot %s: %s"
            self._outage.begin(what, self._store.name, operation, reason)
            return None
        self._outage.end("verdict store %s: works again", self._store.name)
        return result

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # In an empty context, since a batch is for many callers.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._running.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._running.discard)
        return task


class SqliteStore:
    """A `VerdictStore` of at most `entries` and `max_bytes`, which evicts the oldest.

    SQLite's write-ahead log takes a few more megabytes. The file is opened at the first use, and
    again after an error.
    """

    def __init__(self, path: Path, *, entries: int, max_bytes: int) -> None:
        self.name = str(path)
        self._entries = entries
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="verdicts")
        self._connection: sqlite3.Connection | None = None

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        marks = ",".join("?" * len(keys))
        # Only question marks are put into the statement.
        query = f"SELECT key, value FROM verdicts WHERE key IN ({marks})"  # noqa: S608
        return await self._run(lambda file: dict(file.execute(query, keys).fetchall()))

    async def write(self, entries: Mapping[bytes, bytes]) -> None:
        await self._run(lambda file: self._insert(file, entries))

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def in_thread() -> T:
            try:
                return work(self._open())
            except sqlite3.Error as error:
                self._close()
                raise StoreError(str(error)) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, in_thread)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            # Waits half a second for a lock of another service. Autocommit: `_insert` begins its
            # transaction itself, with the lock for writing.
            self._connection = sqlite3.connect(self.name, timeout=0.5, isolation_level=None)
            self._connection.executescript(_SETUP)
        return self._connection

    def _insert(self, file: sqlite3.Connection, entries: Mapping[bytes, bytes]) -> None:
        file.execute("BEGIN IMMEDIATE")
        with file:  # commits, or rolls back after an error
            file.executemany(
                "INSERT OR REPLACE INTO verdicts (key, value) VALUES (?, ?)", entries.items()
            )
            # Ages are unique and ascending: at most `entries` rows are younger than this bound.
            youngest = _read_number(file, "SELECT max(age) FROM verdicts")
            file.execute("DELETE FROM verdicts WHERE age <= ?", (youngest - self._entries,))
            oldest = _read_number(file, "SELECT min(age) FROM verdicts")
            while oldest <= youngest and _read_number(file, USED_BYTES) > self._max_bytes:
                oldest += -(-(youngest - oldest + 1) // 10)  # a tenth at a time, rounded up
                file.execute("DELETE FROM verdicts WHERE age < ?", (oldest,))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read_number(file: sqlite3.Connection, query: str) -> int:
    return int(file.execute(query).fetchall()[0][0] or 0)
