"""A ledger's SQLite file: how those who write it and those who only read it connect."""

import sqlite3
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

BUSY_S: Final = 5.0
"""How long a lock is waited for."""

_PROTECTED: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})


def to_write(engine: Engine) -> None:
    """Connect so that what is committed survives a killed process, and readers never wait."""

    @event.listens_for(engine, "connect")
    def tune(connection: sqlite3.Connection, _: object) -> None:
        _tune(connection)


def to_read(engine: Engine) -> None:
    """Connect as writers do, and also where nothing may be written: another user's file, a disk
    mounted for reading. The engine must not keep connections: of a file that nobody can write
    now SQLite would not see that somebody does later."""

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, _: object, arguments: tuple[str, ...], parameters: dict[str, Any]
    ) -> sqlite3.Connection:
        connection: sqlite3.Connection = dialect.loaded_dbapi.connect(*arguments, **parameters)
        if _usable(connection):
            return connection
        connection.close()
        return _still(Path(arguments[0]), parameters)


def _tune(connection: sqlite3.Connection) -> None:
    # SQLite itself does not wait for the lock that the first change of mode takes.
    patient = Retrying(
        retry=retry_if_exception(_is_busy),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(BUSY_S),
        reraise=True,
    )
    patient(connection.execute, "PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _usable(connection: sqlite3.Connection) -> bool:
    """Whether the file can be read; tuned where that may be."""
    try:
        _tune(connection)
    except sqlite3.OperationalError as error:
        if _reason(error) not in _PROTECTED:
            raise
        return _is_readable(connection)
    return True


def _is_readable(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if _reason(error) not in _PROTECTED:
            raise
        return False
    return True


def _still(path: Path, parameters: dict[str, Any]) -> sqlite3.Connection:
    """A connection to a file that nobody writes now, without the files SQLite keeps beside it."""
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        # Read without it, the newest rollouts would be missing, and nobody would know.
        raise sqlite3.OperationalError(
            f"its newest rollouts are in {log}, and reading them takes the right to write in"
            f" {path.parent}: copy both files to where you may"
        )
    address = f"{path.as_uri()}?immutable=1"
    connection: sqlite3.Connection = sqlite3.connect(address, **parameters, uri=True)
    return connection


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and _reason(error) == sqlite3.SQLITE_BUSY


def _reason(error: sqlite3.OperationalError) -> int:
    """The primary code; the rest says, say, busy with what."""
    return error.sqlite_errorcode & 0xFF
