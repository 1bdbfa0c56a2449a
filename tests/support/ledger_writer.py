"""A service's part of a ledger, alone: writes pickled batches once it is told to.

    PYTHONPATH=tests python -m support.ledger_writer ADDRESS PICKLE

Says `ready`, waits for a line, writes, and tells of every batch that could not be written.
"""

import pickle
import sys
from pathlib import Path

from citemark_service.errors import LedgerError
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.store import LedgerStore


def main(address: str, path: str) -> None:
    """Write them all."""
    batches = pickle.loads(Path(path).read_bytes())
    store = LedgerStore(open_engine(address), max_bytes=2**40, max_days=None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for batch in batches:
        try:
            store.write(batch)
        except LedgerError as error:
            sys.stdout.write(f"{error}\n")
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
