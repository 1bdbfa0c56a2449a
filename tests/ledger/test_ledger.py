"""Answers wait for their entry, but never long; trouble costs entries only beyond a bound."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from citemark_service.errors import LedgerError
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.store import Written
from citemark_service.ledger.tables import characters_of
from support.examples import EXAMPLE_ROWS
from support.ledger_service import kept_service, score
from support.waiting import until


class Shelf:
    """A store that can be slow or broken."""

    name = "shelf"

    def __init__(self):
        self.batches = []
        self.open = threading.Event()
        self.open.set()
        self.broken = False
        self.untidy = False
        self.stuck = False
        self.tidied = 0
        self.closed = False

    def write(self, entries):
        self.open.wait(10)
        if self.broken:
            raise LedgerError("shelf: broken")
        self.batches.append(list(entries))
        return Written(kept=len(entries))

    def tidy(self):
        if self.stuck:
            raise LedgerError("shelf: stuck")
        self.tidied += 1

    def close(self):
        self.closed = True

    @property
    def kept(self):
        return [entry for batch in self.batches for entry in batch]


@pytest.fixture
def shelf():
    return Shelf()


def ledger_of(shelf, counts, wait_s=5.0, room=10**9):
    return Ledger(shelf, metrics=counts, wait_s=wait_s, room=room)


async def test_a_store_that_does_not_open_is_told_at_the_start_and_delays_no_end(
    shelf, counts, caplog
):
    shelf.broken = True
    async with ledger_of(shelf, counts):
        await until(lambda: "are not being kept" in caplog.text)
        since = time.perf_counter()
    assert time.perf_counter() - since < 5
    assert shelf.closed
    assert counts.lost == 0


async def test_a_step_is_kept_in_few_transactions_and_in_order(shelf, counts, make):
    entries = [make(index, at=float(index)) for index in range(600)]
    async with ledger_of(shelf, counts) as ledger:
        await asyncio.gather(*map(ledger.keep, entries))
    assert shelf.kept == entries
    assert len(shelf.batches) <= 4
    assert (counts.written, shelf.tidied) == (600, 0)


async def test_the_first_after_a_pause_waits_for_no_others(shelf, counts, make, monkeypatch):
    monkeypatch.setattr("citemark_service.ledger.ledger._PACE_S", 60.0)
    async with ledger_of(shelf, counts) as ledger:
        await asyncio.wait_for(ledger.keep(make(0)), 10)
        assert len(shelf.kept) == 1
        following = asyncio.create_task(ledger.keep(make(1)))
        await asyncio.sleep(0.1)
        assert not following.done()
        assert len(shelf.kept) == 1
        following.cancel()
        monkeypatch.setattr("citemark_service.ledger.ledger._CLOSE_S", 0.1)


async def test_beyond_the_bound_entries_are_lost_and_counted(shelf, counts, make):
    shelf.broken = True
    room = sum(characters_of(make(index)) for index in range(3))
    async with ledger_of(shelf, counts, room=room) as ledger:
        for index in range(5):
            await ledger.keep(make(index))
        assert counts.lost == 2
        shelf.broken = False
    assert len(shelf.kept) == 3


async def test_one_that_leaves_takes_its_entry_from_nobody(shelf, counts, make):
    shelf.open.clear()
    async with ledger_of(shelf, counts) as ledger:
        leaving = asyncio.create_task(ledger.keep(make(0)))
        staying = asyncio.create_task(ledger.keep(make(1)))
        await asyncio.sleep(0.05)
        leaving.cancel()
        shelf.open.set()
        await staying
    assert len(shelf.kept) == 2


async def test_megabytes_of_sources_are_written_in_small_transactions(shelf, counts, make):
    entry = make(0)
    large = replace(entry, rollout=entry.rollout.model_copy(update={"tool_output": "x" * 2**22}))
    async with ledger_of(shelf, counts) as ledger:
        await asyncio.gather(*(ledger.keep(large) for _ in range(12)))
    assert len(shelf.kept) == 12
    assert max(map(len, shelf.batches)) <= 4


async def test_trouble_in_tidying_costs_no_entry_and_writes_none_twice(shelf, counts, make, caplog):
    shelf.untidy = shelf.stuck = True
    async with ledger_of(shelf, counts) as ledger:
        await ledger.keep(make(0))
        await ledger.keep(make(1))
    assert len(shelf.kept) == 2
    assert (counts.written, counts.lost) == (2, 0)
    assert "cannot be deleted: shelf: stuck" in caplog.text


async def test_thousands_that_wait_are_written_before_the_end(shelf, counts, make):
    entries = [make(index) for index in range(5000)]
    shelf.open.clear()
    async with ledger_of(shelf, counts, wait_s=0.01) as ledger:
        await asyncio.gather(*map(ledger.keep, entries))
        assert not shelf.kept
        shelf.open.set()
    assert shelf.kept == entries
    assert shelf.closed


async def test_what_is_lost_at_the_end_is_counted_and_said(
    shelf, counts, make, caplog, monkeypatch
):
    monkeypatch.setattr("citemark_service.ledger.ledger._CLOSE_S", 0.1)
    shelf.broken = True
    async with ledger_of(shelf, counts) as ledger:
        await ledger.keep(make(0))
        await ledger.keep(make(1))
    assert counts.lost == 2
    assert "2 rollouts were not kept in time" in caplog.text


def test_a_sample_that_is_posted_again_counts_as_that(tmp_path):
    with kept_service(tmp_path) as client:
        for _ in range(3):
            score(client, EXAMPLE_ROWS[:1], run="a", step=1)
        told = client.get("/metrics").text
    for outcome, count in {"kept": 1, "again": 2, "lost": 0}.items():
        assert f'citemark_ledger_rollouts_total{{outcome="{outcome}"}} {count}.0' in told
