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
    """`start("serve", …)` runs a command as a process, which does not outlive the test.

    With `files`, that is how many it may have open.
    """
    with ExitStack() as stack:

        def run(*arguments: str | Path, files: int | None = None) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "citemark_service", *map(str, arguments)]
            if files is not None:
                command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield run
