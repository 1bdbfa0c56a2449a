"""A ledger that may be read and not written, by a process that is truly kept from writing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from citemark_service.ledger.store import LedgerStore
from support.ledger_writer import open_store

_UNPRIVILEGED = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]


def export(path: Path) -> tuple[list[str], str]:
    """Ids of what `citemark export` wrote, and what it said, in a process that modes of files bind.

    Also where root runs the tests.
    """
    command = [sys.executable, "-m", "citemark_service", "export"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to take that from it")
        command = [*_UNPRIVILEGED, *command]
    output = path.parents[1] / "out.jsonl"
    command += [str(output), "--ledger", f"sqlite:///{path}"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode == 0) is output.exists(), told.stderr
    rows = output.read_text().splitlines() if output.exists() else []
    return [json.loads(row)["id"] for row in rows], told.stderr


@pytest.fixture
def path(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "kept"
    folder.mkdir()
    yield folder / "ledger.db"
    folder.chmod(0o755)


def protect(path: Path) -> None:
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)


def fill(path: Path, *entries) -> LedgerStore:
    store = open_store(f"sqlite:///{path}")
    store.write(entries)
    return store


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_file_that_nobody_writes_is_read(path, make, journal):
    fill(path, make(0, id="r0"), make(1, id="r1")).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"PRAGMA journal_mode = {journal}")
    protect(path)
    assert export(path)[0] == ["r0", "r1"]
    assert [file.name for file in path.parent.iterdir()] == ["ledger.db"]


def test_a_file_that_another_user_is_writing_is_read_as_it_grows(path, make):
    with closing(fill(path, make(0, id="r0"))) as store:
        protect(path)
        assert export(path)[0] == ["r0"]
        store.write([make(1, id="r1")])
        assert export(path)[0] == ["r0", "r1"]


def test_rollouts_that_cannot_be_seen_are_told_of_and_not_left_out(path, make):
    with closing(fill(path, make(0, id="r0"))):
        copy = path.parent / "copy.db"
        shutil.copy(path, copy)
        shutil.copy(f"{path}-wal", f"{copy}-wal")
        protect(path)
        found, told = export(copy)
    assert found == []
    assert f"its newest rollouts are in {copy}-wal" in told
    assert "Traceback" not in told
