"""A ledger that may be read and not written, by a process that is truly kept from writing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from citemark_service.ledger.database import open_engine
from citemark_service.ledger.store import LedgerStore

_UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


def export(path: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """`citemark export` in a process that the modes of files bind, also where root runs tests."""
    unprivileged = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that from it")
        unprivileged = _UNPRIVILEGED
    command = [sys.executable, "-m", "citemark_service", "export", str(output)]
    command += ["--ledger", f"sqlite:///{path}"]
    return subprocess.run(
        [*unprivileged, *command], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def path(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "kept"
    folder.mkdir()
    yield folder / "ledger.db"
    folder.chmod(0o755)


@pytest.fixture
def output(tmp_path) -> Path:
    path: Path = tmp_path / "out.jsonl"
    return path


def protect(path: Path) -> None:
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)


def fill(path: Path, entries) -> LedgerStore:
    store = LedgerStore(open_engine(f"sqlite:///{path}"), max_bytes=2**40, max_days=None)
    store.write(entries)
    return store


def ids(path: Path, output: Path) -> list[str]:
    """Of the rollouts that are exported."""
    told = export(path, output)
    assert told.returncode == 0, told.stderr
    return [json.loads(line)["id"] for line in output.read_text().splitlines()]


def test_a_file_that_nobody_writes_is_read(path, output, make):
    fill(path, [make(index, id=f"r{index}") for index in range(3)]).close()
    protect(path)
    assert ids(path, output) == ["r0", "r1", "r2"]
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_a_file_that_another_user_is_writing_is_read_as_it_grows(path, output, make):
    with closing(fill(path, [make(0, id="r0")])) as store:
        protect(path)
        assert ids(path, output) == ["r0"]
        store.write([make(1, id="r1")])
        assert ids(path, output) == ["r0", "r1"]


def test_a_file_without_a_log_of_writes_is_read(path, output, make):
    fill(path, [make(0, id="r0")]).close()
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    engine.dispose()
    # Reading it must not turn it back, so it is not opened as a ledger here again.
    protect(path)
    assert ids(path, output) == ["r0"]


def test_rollouts_that_cannot_be_seen_are_told_of_and_not_left_out(path, output, make):
    with closing(fill(path, [make(0, id="r0")])):
        copy = path.parent / "copy.db"
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        protect(path)
        told = export(copy, output)
    assert told.returncode != 0
    assert not output.exists()
    assert f"its newest rollouts are in {copy}-wal" in told.stderr
    assert "Traceback" not in told.stderr
