"""A signal ends the command where it is, and the command says how to go on."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from citemark_grpo.training.journal import read_lines
from support.scripted_service import Service
from training.train_command import ENVIRONMENT, STEPS, called, command

pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]

PATIENCE_S = 120.0


@contextmanager
def started(given: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        given, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def asked(service: Service, times: int, process: subprocess.Popen[str]) -> None:
    """Return when the run waits for the rewards of its step `times`."""
    gives_up = time.monotonic() + PATIENCE_S
    while len(service.requests) < times:
        assert process.poll() is None
        assert time.monotonic() < gives_up
        time.sleep(0.01)


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert "Traceback" not in said
    assert "Aborted" not in said
    return said.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_where_and_goes_on_from_there(
    tmp_path, policy, rows_file, service: Service, number
):
    output = tmp_path / "run"
    given = command(output, url=service.url, policy=policy, rows=rows_file)
    service.delay_s = 0.5
    with started(given) as process:
        asked(service, 4, process)
        said = stopped(process, number)
    assert said == (
        f"citemark-grpo: stopped by {number.name} after step 3. "
        f"{output / 'checkpoint-2'} is whole: the same command goes on from it."
    )
    service.delay_s = 0.0
    ended = called(*given)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"goes on from {output / 'checkpoint-2'}" in ended.stdout
    assert [line.step for line in read_lines(output / "journal.jsonl")] == list(range(1, STEPS + 1))


def test_a_run_that_begins_anew_is_told_the_flag_to_go_on_with(
    tmp_path, policy, rows_file, service: Service
):
    output = tmp_path / "run"
    given = command(output, url=service.url, policy=policy, rows=rows_file, resume="never")
    service.delay_s = 0.5
    with started(given) as process:
        asked(service, 3, process)
        assert stopped(process, signal.SIGTERM).endswith(
            "checkpoint-2 is whole: the same command with --resume auto goes on from it."
        )


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_from(
    tmp_path, policy, rows_file, service: Service
):
    given = command(tmp_path / "run", url=service.url, policy=policy, rows=rows_file)
    service.delay_s = 60.0
    with started(given) as process:
        asked(service, 1, process)
        said = stopped(process, signal.SIGTERM)
    assert "after step 0. No checkpoint is whole yet: the same command begins" in said
