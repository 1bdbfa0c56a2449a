"""A run killed at any moment and resumed is the run that was never killed."""

import os
import random
import shutil
import signal
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from citemark_grpo.training.checkpoints import find_resumable, list_complete
from citemark_grpo.training.journal import JournalLine, read_lines
from citemark_schemas import Failure, FailureKind, ScoreResponse
from support.scripted_service import Service, scored
from training.conftest import Flags
from training.train_command import ENVIRONMENT, TWO_PROCESSES, succeeded, tiny_run

pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]

STEPS = 15
# 6 prompts, one a generation: several passes over the rows, and generations that outlast
# checkpoints, optimizer steps and passes in different ways.
SHAPES = {
    "a generation a step": {"steps_per_generation": 1},
    "a generation in three steps": {"steps_per_generation": 3},
    "two iterations over half a step": {"gradient_accumulation_steps": 4, "num_iterations": 2,
                                        "steps_per_generation": 2},
    "a generation in one and a half steps": {"gradient_accumulation_steps": 2,
                                             "steps_per_generation": 3},
}  # fmt: skip
CHANGES = {"step_time", "checkpoint/free_gib", "checkpoint/resumable_step"}


LATE = Failure(kind=FailureKind.TIMEOUT, message="late", retryable=True)


def judge(body: dict[str, Any]) -> Response:
    """Pays by a digest of the response, and fails for some, always for the same ones."""
    digests = [zlib.crc32(item["response"].encode()) for item in body["items"]]
    items = tuple(
        scored(item["id"], None, failure=LATE)
        if digest % 11 == 0
        else scored(item["id"], digest % 100 / 10)
        for item, digest in zip(body["items"], digests, strict=True)
    )
    return Response(ScoreResponse(items=items).model_dump_json(), media_type="application/json")


class Runs:
    """One shape of a run in several folders."""

    def __init__(self, flags: Flags, service: Service, shape: str, launcher: tuple[str, ...] = ()):
        self._flags, self._service, self._launcher = flags, service, launcher
        self._trainer = {**SHAPES[shape], "generation_batch_size": None}
        service.steps = [judge] * 10_000

    def command(self, output: Path) -> list[str]:
        flags = self._flags(
            output, max_steps=STEPS, max_failed_share=1.0,
            num_unique_prompts_rollout=2 if self._launcher else 1, gradient_checkpointing=False,
            beta=0.01, learning_rate=3e-2, lr_scheduler_type="linear", seed=11,
        )  # fmt: skip
        return tiny_run(flags, *self._launcher, trainer=self._trainer)

    def run(self, output: Path) -> None:
        assert f"ended at {STEPS}" in succeeded(self.command(output)).stdout

    def kill(self, output: Path, *, at: int, after_s: float) -> None:
        """Start or resume the run and kill it some time after it wrote step `at`, or later."""
        began, self._service.delay_s = time.time(), 0.05
        with subprocess.Popen(
            self.command(output), env=ENVIRONMENT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            ends_at = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < ends_at:
                if any(line.step >= at and line.time > began for line in journal(output)):
                    break
                time.sleep(0.01)
            time.sleep(after_s)
            os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        self._service.delay_s = 0.0


def journal(output: Path) -> list[JournalLine]:
    path = output / "journal.jsonl"
    return list(read_lines(path)) if path.exists() else []


def comparable(line: JournalLine) -> dict[str, object]:
    kept = {name: value for name, value in line.metrics.items() if name not in CHANGES}
    return {"step": line.step, "rewards": line.rewards, **kept}


def compare(broken: Path, unbroken: Path) -> None:
    """Step by step, to the last bit; and what is compared must change from step to step."""
    assert [line.step for line in journal(broken)] == list(range(1, STEPS + 1))
    assert list(map(comparable, journal(broken))) == list(map(comparable, journal(unbroken)))
    rewards = [reward for line in journal(unbroken) for reward in line.rewards]
    assert len(set(rewards)) > STEPS // 2
    assert None in rewards


@pytest.fixture(autouse=True)
def six_rows(rows_file):
    rows_file.write_text("".join(rows_file.read_text().splitlines(keepends=True)[:6]))


@pytest.mark.parametrize("shape", SHAPES)
def test_killed_at_random_and_resumed_the_run_is_the_unbroken_one(
    flags, service: Service, tmp_path, record_property, shape
):
    chance = random.Random(shape)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    runs = Runs(flags, service, shape)
    runs.run(unbroken)
    kills = sorted(chance.sample(range(1, STEPS - 2), 2))
    for at in kills:
        runs.kill(broken, at=at, after_s=chance.uniform(0, 0.1))
    runs.run(broken)
    record_property("kills", kills)
    compare(broken, unbroken)


def test_two_processes_resume_exactly_too(flags, service: Service, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    runs = Runs(flags, service, "a generation in three steps", TWO_PROCESSES)
    runs.run(unbroken)
    runs.kill(broken, at=8, after_s=0.03)
    runs.run(broken)
    compare(broken, unbroken)


def test_a_torn_checkpoint_is_not_resumed_from(flags, service: Service, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    runs = Runs(flags, service, "a generation a step")
    runs.run(unbroken)
    shutil.copytree(unbroken, broken)
    newest, before = list_complete(broken)[-1], list_complete(broken)[-2]
    with (newest.path / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    assert find_resumable(broken) == before.path
    for _ in range(2):
        runs.run(broken)
        compare(broken, unbroken)
        assert find_resumable(broken) == newest.path
