"""A ledger's database: the engine, and the tables as this version wants them."""

import logging
from importlib import resources
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from citemark_service.errors import LedgerError, SettingsError
from citemark_service.ledger.file import BUSY_S, to_read, to_write

_log = logging.getLogger("citemark.ledger")

_CONNECT_S: Final = 5
_DRIVERS: Final = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_STATEMENT_S: Final = 30
_SILENCE_S: Final = 10
_SERVER: Final = {
    "connect_timeout": _CONNECT_S,
    "options": f"-c statement_timeout={_STATEMENT_S}s",
    "keepalives_idle": _SILENCE_S,
    "tcp_user_timeout": 1000 * _SILENCE_S,
}
"""What keeps a server that is gone, or stuck, from holding a thread for ever."""
# Services that start at once take turns; the number is only ours.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(8221944701)")
_PATIENT: Final = text("SET LOCAL statement_timeout = 0")


def opened(address: str, *, reading: bool = False) -> Engine:
    """An engine for `sqlite:///PATH` or `postgresql://HOST/DATABASE`; nothing is connected yet.

    Args:
        reading: nothing but reading is wanted, so that a file nobody may write does too.

    Raises:
        SettingsError: it is neither, or its driver is not installed.
    """
    url = _url(address)
    try:
        engine = create_engine(
            url,
            connect_args=_arguments(url),
            pool_pre_ping=_is_server(url),
            poolclass=None if _is_server(url) or not reading else NullPool,
            hide_parameters=True,  # an error would quote rollouts, and errors are logged
        )
    except ModuleNotFoundError as error:
        raise SettingsError(
            "ledger: PostgreSQL needs pip install 'citemark[service,postgres]'"
        ) from error
    if not _is_server(url):
        (to_read if reading else to_write)(engine)
    return engine


def place_of(engine: Engine) -> str:
    """What may be told of where a database is: its file or its server, and no secret."""
    url = engine.url
    if not _is_server(url):
        return f"sqlite:///{Path(url.database or '').absolute()}"
    bare = url.set(drivername=url.get_backend_name(), query={})  # a query can hold a password
    return bare.render_as_string(hide_password=True)


def migrated(engine: Engine) -> None:
    """Bring the tables to this version; where they are, nothing is written.

    Raises:
        LedgerError: a newer Citemark wrote them.
        SQLAlchemyError: the database cannot be used now.
    """
    script = resources.files("citemark_service.ledger") / "migrations"
    before = _current(engine)
    if before == newest():
        return
    with resources.as_file(script) as folder, engine.begin() as connection:
        _alone(connection)
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        _upgrade(config, connection)
    _log.info("ledger %s: tables %s → %s", place_of(engine), before or "none", newest())


def newest() -> str | None:
    """The version of the tables that this Citemark writes."""
    script = resources.files("citemark_service.ledger") / "migrations"
    with resources.as_file(script) as folder:
        return ScriptDirectory(folder).get_current_head()


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _alone(connection: Connection) -> None:
    """Take turns with other services, and keep all of a migration or nothing."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
        connection.execute(_PATIENT)
    else:  # Python's driver would begin no transaction before the first row is written
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upgrade(config: Config, connection: Connection) -> None:
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        where = place_of(connection.engine)
        raise LedgerError(f"{where}: a newer Citemark wrote this ledger: {error}") from error


def _url(address: str) -> URL:
    try:
        url = make_url(address)
        driver = _DRIVERS[url.get_backend_name()]
    except (ArgumentError, NoSuchModuleError, KeyError) as error:
        raise SettingsError("ledger: off, sqlite:///PATH or postgresql://HOST/DATABASE") from error
    return url.set(drivername=driver)


def _is_server(url: URL) -> bool:
    return url.get_backend_name() != "sqlite"


def _arguments(url: URL) -> dict[str, Any]:
    if not _is_server(url):
        return {"timeout": BUSY_S}
    return {name: value for name, value in _SERVER.items() if name not in url.query}
