"""The judge and the service, each in a process of its own, and what the kernel says of one."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from workload import QUOTE

_TESTS = Path(__file__).resolve().parents[1] / "tests"
_SERVING = re.compile(r"serving on (http://\S+)\b.*\n")
_START_S = 30.0
_STOP_S = 10.0
_LAST_WORDS = 2000
_CPUCLOCK_SCHED = 2
_MIB = 1024 * 1024


class NotStarted(Exception):
    """A process ended before it served, or took too long; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """User and system time so far, of all threads, to the nanosecond."""
        # clock_getcpuclockid(3); the ticks of /proc/PID/stat are 10 ms, six rollouts long.
        return time.clock_gettime((~self.pid << 3) | _CPUCLOCK_SCHED)

    def rss_mb(self) -> float:
        """Resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    def peak_rss_mb(self) -> float:
        """The most that was resident so far, in MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def scripted_judge(
    seconds: float = 0.0, *, quote: str = QUOTE, keep: Path | None = None, times: Path | None = None
) -> Iterator[str]:
    """The base URL of a judge that answers after `seconds`.

    It writes requests to `keep`, and to `times` when each came.
    """
    script = str(Path(__file__).with_name("shaped_judge.py"))
    command = [script, "--seconds", str(seconds), "--quote", quote]
    for option, file in (("--keep", keep), ("--times", times)):
        command += [option, str(file.resolve())] if file else []
    with _judge(command) as url:
        yield url


@contextmanager
def real_vllm() -> Iterator[str]:
    """The base URL of a vLLM on the CPU.

    Raises:
        NotStarted: there is no environment for it; the message says how to make it.
    """
    with _judge([str(Path(__file__).with_name("real_vllm.py"))]) as url:
        yield url


@contextmanager
def _judge(command: list[str]) -> Iterator[str]:
    """A program that prints its URL and lives as long as its standard input."""
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip() or _give_up(errors)
        finally:
            process.stdin.close()


def _give_up(errors: IO[str]) -> NoReturn:
    errors.seek(0)
    raise NotStarted(errors.read().strip()[-_LAST_WORDS:] or "the judge ended before it served")


@contextmanager
def running_service(judge_url: str, **settings: object) -> Iterator[Service]:
    """`citemark serve` on a free port, with `vllm` as its judge at `judge_url`."""
    judge = {"judge": "vllm", "judge_url": judge_url, "judge_model": "scripted"}
    # Only a step's calls are counted, and only its own work.
    table = {**judge, "probe_at_start": False, "ledger": "off", **settings}
    environment = {f"CITEMARK_{name.upper()}": str(value) for name, value in table.items()}
    command = [sys.executable, "-m", "citemark_service", "serve", "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, **environment})
        try:
            yield Service(_url_of(process, log), process.pid)
        finally:
            _stop(process)


def _url_of(process: subprocess.Popen[bytes], log: IO[str]) -> str:
    """The address that the server logs when it listens."""
    ends_at = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < ends_at:
        log.seek(0)
        if found := _SERVING.search(log.read()):
            return found[1]
        time.sleep(0.05)
    log.seek(0)
    raise NotStarted(f"no server came up:\n{log.read()[-_LAST_WORDS:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
