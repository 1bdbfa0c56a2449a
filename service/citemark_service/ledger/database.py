"""Engines for the ledger's database, and the migration of its tables."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from citemark_service.errors import LedgerError, SettingsError

_log = logging.getLogger("citemark.ledger")

_DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_BUSY_S: Final = 5.0  # how long to wait for the lock of an SQLite file
# A PostgreSQL server that is gone or stuck must not block a thread for ever.
_SERVER: Final = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=30s",
    "keepalives_idle": 10,
    "tcp_user_timeout": 10_000,  # ms
}
_PROTECTED: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
# Services that start together migrate one after another. The number is arbitrary.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(8221944701)")
# A migration of large tables may take longer than the 30 s of `_SERVER`.
_PATIENT: Final = text("SET LOCAL statement_timeout = 0")


def open_engine(address: str, *, reading: bool = False) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://HOST/DATABASE`; it connects on first use.

    `reading` also opens an SQLite file that this process may not write. Raises `SettingsError` for
    another address, a driver that is not installed, or a missing folder.
    """
    try:
        url = make_url(address)
        url = url.set(drivername=_DRIVERS[url.get_backend_name()])
    except (ArgumentError, NoSuchModuleError, KeyError) as error:
        raise SettingsError("ledger: off, sqlite:///PATH or postgresql://HOST/DATABASE") from error
    # Errors are logged, and with parameters they would quote rollouts.
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise SettingsError("ledger: sqlite:///relative/path or sqlite:////absolute/path")
        if not (folder := Path(url.database).parent).is_dir():
            raise SettingsError(f"ledger: there is no folder {folder}")
        # A pooled connection opened as immutable would not see rows that are written later.
        pool = NullPool if reading else None
        engine = create_engine(url, connect_args={"timeout": _BUSY_S}, poolclass=pool, **options)
        if reading:
            event.listen(engine, "do_connect", _connect_to_read)
        else:
            event.listen(engine, "connect", _tune)
        return engine
    server = {name: value for name, value in _SERVER.items() if name not in url.query}
    try:
        return create_engine(url, connect_args=server, pool_pre_ping=True, **options)
    except ModuleNotFoundError as error:
        raise SettingsError(
            "ledger: PostgreSQL needs pip install 'citemark[service,postgres]'"
        ) from error


def place_of(engine: Engine) -> str:
    """The database's address without password and query, for logs and messages."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{Path(url.database or '').absolute()}"
    bare = url.set(drivername=url.get_backend_name(), query={})  # a query can hold a password
    return bare.render_as_string(hide_password=True)


@contextmanager
def ledger_errors(engine: Engine) -> Iterator[None]:
    """Raise database errors as `LedgerError` with the database's address, without the SQL."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or error
        raise LedgerError(f"{place_of(engine)}: {reason}") from error


def migrate(engine: Engine) -> None:
    """Migrate the tables to this version; current tables are only read.

    Raises `LedgerError` for tables of a newer version, else `SQLAlchemyError`.
    """
    with engine.connect() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
    folder = Path(__file__).with_name("migrations")
    newest = ScriptDirectory(folder).get_current_head()
    if before == newest:
        return
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    with engine.begin() as connection:
        # One service at a time, and each migration as a whole or not at all.
        if connection.dialect.name == "postgresql":
            connection.execute(_LOCK)
            connection.execute(_PATIENT)
        else:  # sqlite3 begins a transaction only at the first INSERT, so DDL would be outside
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(
                f"{place_of(engine)}: a newer Citemark wrote this ledger: {error}"
            ) from error
    _log.info("ledger %s: tables %s → %s", place_of(engine), before or "none", newest)


def _tune(connection: sqlite3.Connection, _: object = None) -> None:
    """Set WAL, in which readers never wait and a commit survives a killed process."""
    # SQLite's busy timeout does not apply to the lock that the first change of mode takes.
    patient = Retrying(
        retry=retry_if_exception(
            lambda error: (
                isinstance(error, sqlite3.OperationalError)
                and _primary_code(error) == sqlite3.SQLITE_BUSY
            )
        ),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(_BUSY_S),
        reraise=True,
    )
    patient(connection.execute, "PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _connect_to_read(
    dialect: Dialect, _: object, arguments: tuple[str, ...], parameters: dict[str, Any]
) -> sqlite3.Connection:
    """Connect, also to a file that may not be written: another user's, or on a read-only disk."""
    connection: sqlite3.Connection = dialect.loaded_dbapi.connect(*arguments, **parameters)
    for attempt in (_tune, lambda opened: opened.execute("SELECT 1 FROM sqlite_master").fetchone()):
        try:
            attempt(connection)
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in _PROTECTED:
                raise
        else:
            return connection
    connection.close()
    # `immutable` reads the file alone, without its -wal and -shm, and assumes no writer.
    path = Path(arguments[0])
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        # Without the log, the newest rollouts would be missing silently.
        raise sqlite3.OperationalError(
            f"its newest rollouts are in {log}, and reading them takes the right to write in"
            f" {path.parent}: copy both files to where you may"
        )
    still: sqlite3.Connection = sqlite3.connect(
        f"{path.as_uri()}?immutable=1", **parameters, uri=True
    )
    return still


def _primary_code(error: sqlite3.OperationalError) -> int:
    return error.sqlite_errorcode & 0xFF  # an extended code holds the primary in its low byte
