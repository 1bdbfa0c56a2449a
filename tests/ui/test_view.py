"""What the pages read is bounded and ends on time."""

import asyncio
import threading
from contextlib import closing
from queue import SimpleQueue

import pytest
from sqlalchemy import text

from citemark_service.errors import LedgerError, Overloaded
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.reading import LedgerReader
from citemark_service.web.admission import Reads


def test_a_read_ends_when_its_time_is_over(tmp_path):
    view = LedgerReader(open_engine(f"sqlite:///{tmp_path / 'ledger.db'}"))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    interrupted = pytest.raises(LedgerError, match="interrupted")
    with interrupted, view.within(0.2), view._connect() as connection:
        connection.execute(text(endless))
    assert view.runs() == []


async def test_pages_beyond_the_bound_are_refused_and_rewards_never_wait_for_them():
    free, begun = threading.Event(), SimpleQueue[int]()

    def slow() -> int:
        begun.put(1)
        free.wait(60)
        return 1

    with closing(Reads()) as reads:
        waiting = [asyncio.create_task(reads.run(slow)) for _ in range(18)]
        for _ in range(2):
            await asyncio.to_thread(begun.get, timeout=60)  # the loop is free meanwhile
        with pytest.raises(Overloaded):
            await reads.run(slow)
        assert begun.empty()
        free.set()
        assert sum(await asyncio.gather(*waiting)) == 18
        assert await reads.run(lambda: 7) == 7
