"""Commands as processes, and files of rows for them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Start, WriteRows


@pytest.fixture(scope="module", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's reaches a test, and no terminal width but 100."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CITEMARK_")]:
            patch.delenv(name)
        patch.setenv("COLUMNS", "100")
        patch.setenv("CITEMARK_LEDGER", "off")  # its default is a file in the working folder
        yield


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("serve", …)` runs a command as a process, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "citemark_service", *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def rows(tmp_path: Path) -> WriteRows:
    """`rows([{…}])` writes JSON lines and returns the file."""

    def write(values: Iterable[Mapping[str, Any]]) -> Path:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return path

    return write
