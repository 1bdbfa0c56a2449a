"""Training in processes of their own, with the flags of `conftest.flags`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.scripted_service import Service

STEPS = 6
PATIENCE_S = 240.0
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def command(flags: Mapping[str, Any], *launcher: str) -> list[str]:
    """`citemark-grpo train` with these flags."""
    words = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, *(launcher or ("-m",)), "citemark_grpo", "train", *words]


def tiny_run(flags: Mapping[str, Any], *launcher: str, **more: Any) -> list[str]:
    """The program `tiny_run` with these flags."""
    program = str(Path(__file__).with_name("tiny_run.py"))
    job = {"flags": flags, "trainer": {}, "hopeful": False, **more}
    return [sys.executable, *launcher, program, json.dumps(job)]


def called(given: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        given, env={**ENVIRONMENT, **environment}, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def succeeded(given: Sequence[str]) -> subprocess.CompletedProcess[str]:
    ended = called(given)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended


@contextmanager
def started(given: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed in the end."""
    with subprocess.Popen(
        given, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def await_call(service: Service, number: int, process: subprocess.Popen[str]) -> None:
    """Return when the run waits for its rewards of that number."""
    gives_up = time.monotonic() + PATIENCE_S
    while len(service.requests) < number:
        assert process.poll() is None
        assert time.monotonic() < gives_up
        time.sleep(0.01)
