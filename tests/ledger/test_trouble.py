"""Real trouble: two services on one file, a server that restarts, a disk that is full."""

import asyncio
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from sqlalchemy import func, select

from citemark_service.ledger.database import migrate, open_engine
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader, Place
from citemark_service.ledger.store import LedgerStore
from citemark_service.ledger.tables import prompts, rollouts, steps
from support.ledger_writer import await_others, open_store, write_batches
from support.postgres_server import running_server
from support.small_disk import fill, mounted
from support.waiting import until

_BATCHES = 40
_PATIENCE_S = 30.0


def sums(engine):
    with engine.connect() as connection:
        counted = connection.scalar(select(func.count()).select_from(rollouts))
        return counted, connection.scalar(select(func.sum(steps.c.rollouts)))


def kept_at(address):
    engine = open_engine(address)
    try:
        return sums(engine)
    finally:
        engine.dispose()


def write_together(address, works):
    """What processes that begin at once could not write."""
    spawn, count = multiprocessing.get_context("spawn"), len(works)
    begin = (spawn.Barrier(count),)
    with ProcessPoolExecutor(count, spawn, initializer=await_others, initargs=begin) as pool:
        return [*pool.map(write_batches, [address] * count, works)]


@pytest.mark.parametrize("services", [("a", "b"), ("a", "a")], ids=["other", "same"])
def test_two_services_begin_and_write_samples_of_the_same_steps_at_once(
    address, engine, make, services
):
    works = [
        [
            [make(n, run="a", step=batch, position=n, id=f"{each}-{n}") for n in range(16)]
            for batch in range(_BATCHES)
        ]
        for each in services
    ]
    assert write_together(address, works) == [[], []]
    assert sums(engine) == (16 * _BATCHES * len({*services}),) * 2


def test_reading_and_pruning_while_another_writes(engine, make):
    """No page fails, and what stays is whole: each rollout still has its prompt."""
    store = LedgerStore(engine, max_bytes=600_000, max_days=None, prune_every_s=0.0)
    reader = LedgerReader(engine)
    seen = 0
    for batch in range(30):
        store.write([make(index, at=time.time(), position=index) for index in range(64)])
        store.tidy()
        seen += sum(1 for _ in reader.whole(reader.numbers(Place(), limit=100)))
        assert reader.runs()[0]["rollouts"] == 64 * (batch + 1)
    with engine.connect() as connection:
        count = connection.scalar(select(func.count()).select_from(rollouts))
        lost = select(func.count()).select_from(rollouts)
        lost = lost.where(rollouts.c.prompt_id.not_in(select(prompts.c.id)))
        assert connection.scalar(lost) == 0
    assert 0 < count < 30 * 64
    assert seen > 1000


async def test_a_server_that_restarts_costs_no_entry_and_writes_none_twice(make, counts, caplog):
    with running_server() as server:
        store = open_store(server.address)
        async with Ledger(store, metrics=counts, wait_s=5.0, room=10**9) as ledger:
            await asyncio.gather(*(ledger.keep(make(n, at=float(n))) for n in range(100)))
            server.stop()
            started = time.monotonic()
            await asyncio.gather(*(ledger.keep(make(n, at=100.0 + n)) for n in range(100)))
            assert time.monotonic() - started < _PATIENCE_S / 2
            assert counts.written == 100
            server.start()
            await until(lambda: counts.written == 200)
        assert kept_at(server.address) == (200, 200)
    assert counts.lost == 0
    assert "are not being kept" in caplog.text


async def test_a_full_disk_costs_no_reward_and_what_waits_is_written_when_there_is_room(
    tmp_path, make, counts, caplog
):
    with mounted("tmpfs", tmp_path / "disk", 8) as folder:
        address = f"sqlite:///{folder / 'ledger.db'}"
        async with Ledger(open_store(address), metrics=counts, wait_s=5.0, room=10**9) as ledger:
            await ledger.keep(make(0))
            rest = fill(folder)
            full = [make(n, at=2.0 + n) for n in range(500)]
            await asyncio.wait_for(asyncio.gather(*map(ledger.keep, full)), _PATIENCE_S)
            assert counts.written < 501
            assert counts.sample("ledger_trouble")
            assert counts.sample("ledger_waiting") > 0
            rest.unlink()
            await until(lambda: counts.written == 501)
            assert not counts.sample("ledger_trouble")
        assert kept_at(address) == (501, 501)
    assert counts.lost == 0
    assert caplog.text.count("are not being kept") == 1


def test_a_migration_that_was_cut_off_is_done_anew(tmp_path):
    address = f"sqlite:///{tmp_path / 'ledger.db'}"
    killed = (
        "import os, sqlalchemy\n"
        "from citemark_service.ledger.database import migrate, open_engine\n"
        f"engine = open_engine({address!r})\n"
        "@sqlalchemy.event.listens_for(engine, 'after_cursor_execute')\n"
        "def kill(connection, cursor, statement, *rest):\n"
        "    if 'CREATE TABLE rollouts' in statement: os._exit(9)\n"
        "migrate(engine)\n"
    )
    ended = subprocess.run([sys.executable, "-c", killed], timeout=60, check=False)
    assert ended.returncode == 9
    engine = open_engine(address)
    migrate(engine)
    engine.dispose()
