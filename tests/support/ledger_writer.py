"""A service's part of a ledger, also in a process of its own."""

from collections.abc import Sequence
from multiprocessing.synchronize import Barrier

from citemark_service.errors import LedgerError
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.store import LedgerStore
from citemark_service.score.rollout import ScoredRollout


def open_store(address: str) -> LedgerStore:
    """A store that deletes nothing."""
    return LedgerStore(open_engine(address), max_bytes=2**40, max_days=None)


def await_others(start: Barrier) -> None:
    """Return when each process has come so far, with all that is imported here."""
    start.wait(60)


def write_batches(address: str, batches: Sequence[Sequence[ScoredRollout]]) -> list[str]:
    """Write them all; why some could not be written."""
    store = open_store(address)
    errors = []
    for batch in batches:
        try:
            store.write(batch)
        except LedgerError as error:
            errors.append(str(error))
    store.close()
    return errors
