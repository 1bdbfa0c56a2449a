"""Real trouble: two services on one file, a server that restarts, a disk that is full."""

import asyncio
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select

from citemark_service.ledger.database import migrate, open_engine
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader, Place
from citemark_service.ledger.store import LedgerStore
from citemark_service.ledger.tables import prompts, rollouts, steps
from support import postgres_server
from support.waiting import until

_WRITER = Path(__file__).parents[1] / "support" / "ledger_writer.py"
_BATCHES = 40
_PATIENCE_S = 30.0


def sums(engine):
    with engine.connect() as connection:
        counted = connection.scalar(select(func.count()).select_from(rollouts))
        return counted, connection.scalar(select(func.sum(steps.c.rollouts)))


def together(address, works, folder):
    """What processes that begin at once could not write."""
    with ExitStack() as stack:
        writers = []
        for number, work in enumerate(works):
            path = folder / f"{number}.pickle"
            path.write_bytes(pickle.dumps(work))
            command = [sys.executable, str(_WRITER), address, str(path)]
            pipe = subprocess.PIPE
            writer = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            stack.callback(writer.kill)
            writers.append(writer)
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        told = [writer.communicate(timeout=60)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    return "".join(told)


def test_two_services_begin_and_write_the_same_steps_at_once(address, engine, make, tmp_path):
    works = [
        [
            [make(index, run="a", step=batch, id=f"{worker}-{index}") for index in range(16)]
            for batch in range(_BATCHES)
        ]
        for worker in range(2)
    ]
    assert together(address, works, tmp_path) == ""
    assert sums(engine) == (2 * 16 * _BATCHES, 2 * 16 * _BATCHES)


def test_the_same_samples_from_two_services_are_kept_once(address, engine, make, tmp_path):
    work = [
        [make(index, run="a", step=batch, position=index) for index in range(16)]
        for batch in range(_BATCHES)
    ]
    assert together(address, [work, work], tmp_path) == ""
    assert sums(engine) == (16 * _BATCHES, 16 * _BATCHES)


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
    programs = postgres_server.binaries()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="citemark-pg-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        server = postgres_server.Server(programs, Path(folder))
        with server.running() as address:
            store = LedgerStore(open_engine(address), max_bytes=2**40, max_days=None)
            async with Ledger(store, metrics=counts, wait_s=5.0, room=10**9) as ledger:
                await asyncio.gather(*(ledger.keep(make(n, at=float(n))) for n in range(100)))
                server.stop()
                started = time.monotonic()
                await asyncio.gather(*(ledger.keep(make(n, at=100.0 + n)) for n in range(100)))
                assert time.monotonic() - started < _PATIENCE_S / 2
                assert counts.written == 100
                server.start()
                await until(lambda: counts.written == 200)
            engine = open_engine(address)
            assert sums(engine) == (200, 200)
            engine.dispose()
    assert counts.lost == 0
    assert "are not being kept" in caplog.text


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of so many MiB; skips the test where none may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_costs_no_reward_and_what_waits_is_written_when_there_is_room(
    tmp_path, make, counts, caplog
):
    with small_disk(tmp_path, 8) as folder:
        store = LedgerStore(
            open_engine(f"sqlite:///{folder / 'ledger.db'}"), max_bytes=2**40, max_days=None
        )
        async with Ledger(store, metrics=counts, wait_s=5.0, room=10**9) as ledger:
            await ledger.keep(make(0))
            rest = folder / "rest"
            fill(rest)
            full = [make(n, at=2.0 + n) for n in range(500)]
            await asyncio.wait_for(asyncio.gather(*map(ledger.keep, full)), _PATIENCE_S)
            assert counts.written < 501
            rest.unlink()
            await until(lambda: counts.written == 501)
        engine = open_engine(f"sqlite:///{folder / 'ledger.db'}")
        assert sums(engine) == (501, 501)
        engine.dispose()
    assert counts.lost == 0
    assert "are not being kept" in caplog.text


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
