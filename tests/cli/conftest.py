"""The command line in this process and in its own, and services for it to talk to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from citemark_service.cli import main
from support.command_line import Cli, Start, WriteRows


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's reaches a test, and no terminal width but 100."""
    for name in [name for name in os.environ if name.startswith("CITEMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("CITEMARK_LEDGER", "off")  # its default is a file in the working folder


@pytest.fixture
def cli() -> Cli:
    """`cli("score", path)` runs a command in this process."""

    def run(*arguments: str | Path, **options: Any) -> Result:
        return CliRunner().invoke(main, [str(each) for each in arguments], **options)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("serve", …)` runs a command as a process, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "citemark_service", *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

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
