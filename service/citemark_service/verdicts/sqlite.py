"""Verdicts in an SQLite file, which services on one machine may share.

`sqlite3` in a thread of its own. `diskcache` has had no release since 2023 and unpickles what it
reads; `aiosqlite` changes threads for each statement, where this does so for a whole batch.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from citemark_service.verdicts.store import StoreError

T = TypeVar("T")

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
_USED_BYTES: Final = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""


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
            while oldest <= youngest and _read_number(file, _USED_BYTES) > self._max_bytes:
                oldest += -(-(youngest - oldest + 1) // 10)  # a tenth at a time, rounded up
                file.execute("DELETE FROM verdicts WHERE age < ?", (oldest,))

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read_number(file: sqlite3.Connection, query: str) -> int:
    return int(file.execute(query).fetchall()[0][0] or 0)
