"""Commands as processes of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.command_line import Start


@pytest.fixture(scope="module", autouse=True)
def plain_environment() -> Iterator[None]:
    """No terminal width but 100, and no ledger, whose default is a file in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setenv("CITEMARK_LEDGER", "off")
        yield


@pytest.fixture
def start() -> Iterator[Start]:
    """`start("serve", …)` runs a command as a process, which does not outlive the test."""
    with ExitStack() as stack:

        def run(*arguments: str | Path) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "citemark_service", *map(str, arguments)]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield run
