"""From settings to a ledger."""

from pathlib import Path
from typing import Final

from sqlalchemy.engine import Engine

from citemark_service.errors import SettingsError
from citemark_service.ledger.database import opened
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader
from citemark_service.ledger.store import LedgerStore
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_MIB: Final = 1024 * 1024
_ROOM: Final = 400 * _MIB
"""Characters that wait for a database in trouble: some ten thousand ordinary rollouts."""


def ledger_of(settings: Settings, metrics: Metrics) -> Ledger | None:
    """The ledger that `settings.ledger` names; None where it is off.

    Raises:
        SettingsError: it names no database, one without a driver here, or a missing folder.
    """
    if settings.ledger == "off":
        return None
    store = LedgerStore(
        ledger_engine(settings.ledger),
        max_bytes=settings.ledger_max_mib * _MIB,
        max_days=settings.ledger_max_days,
    )
    return Ledger(store, metrics=metrics, wait_s=settings.ledger_wait_s, room=_ROOM)


def ledger_reader(address: str) -> LedgerReader:
    """A reader of the ledger at `address`.

    Raises:
        SettingsError: as `ledger_of`, or there is no such file.
    """
    engine = ledger_engine(address, reading=True)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not Path(file or "").is_file():
        raise SettingsError(f"ledger: there is no file {file}; name another with --ledger URL")
    return LedgerReader(engine)


def ledger_engine(address: str, *, reading: bool = False) -> Engine:
    """As `database.opened`, for a file whose folder exists.

    Raises:
        SettingsError: as `ledger_of`.
    """
    engine = opened(address, reading=reading)
    file = engine.url.database
    if engine.dialect.name != "sqlite":
        return engine
    if not file or file == ":memory:":
        raise SettingsError("ledger: sqlite:///relative/path or sqlite:////absolute/path")
    if not Path(file).parent.is_dir():
        raise SettingsError(f"ledger: there is no folder {Path(file).parent}")
    return engine
