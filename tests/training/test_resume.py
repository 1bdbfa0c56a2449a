"""A run killed at any moment and resumed is the run that was never killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from citemark_grpo.training.checkpoints import find_resumable, list_complete
from citemark_grpo.training.journal import JournalLine, read_lines

pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).with_name("tiny_run.py")
STEPS = 15
# 6 prompts, one a generation: several passes over the rows, and generations that outlast
# checkpoints, optimizer steps and passes in different ways.
SHAPES = {
    "a generation a step": [],
    "a generation in three steps": ["--steps-per-generation", "3"],
    "two iterations over half a step": ["--accumulation", "4", "--steps-per-generation", "2",
                                        "--iterations", "2"],
    "a generation in one and a half steps": ["--accumulation", "2", "--steps-per-generation", "3"],
}  # fmt: skip
CHANGES = {"step_time", "checkpoint/free_gib", "checkpoint/resumable_step"}


def command(output: Path, *options: str, launcher: tuple[str, ...] = ()) -> list[str]:
    policy = output.with_name("policy")
    return [
        sys.executable, *launcher, str(PROGRAM), str(output), "--policy", str(policy),
        "--steps", str(STEPS), "--save-steps", "2", *options,
    ]  # fmt: skip


def run(output: Path, *options: str, launcher: tuple[str, ...] = ()) -> None:
    given = command(output, *options, launcher=launcher)
    ended = subprocess.run(given, check=False, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"ended at {STEPS}" in ended.stdout


def journal(output: Path) -> list[JournalLine]:
    path = output / "journal.jsonl"
    return list(read_lines(path)) if path.exists() else []


def kill(
    output: Path, *options: str, at: int, after_s: float, launcher: tuple[str, ...] = ()
) -> None:
    """Start or resume the run and kill it some time after it wrote step `at`, or a later one."""
    began = time.time()
    with subprocess.Popen(
        command(output, "--seconds", "0.05", *options, launcher=launcher),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        ends_at = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < ends_at:
            if any(line.step >= at and line.time > began for line in journal(output)):
                break
            time.sleep(0.01)
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


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


@pytest.mark.parametrize("shape", SHAPES)
def test_killed_at_random_and_resumed_the_run_is_the_unbroken_one(shape, tmp_path, record_property):
    chance = random.Random(shape)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    run(unbroken, *SHAPES[shape])
    kills = sorted(chance.sample(range(1, STEPS - 2), 2))
    for at in kills:
        kill(broken, *SHAPES[shape], at=at, after_s=chance.uniform(0, 0.1))
    run(broken, *SHAPES[shape])
    record_property("kills", kills)
    compare(broken, unbroken)


def test_two_processes_resume_exactly_too(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    shape = ("--steps-per-generation", "3")
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    run(unbroken, *shape, launcher=launcher)
    kill(broken, *shape, at=8, after_s=0.03, launcher=launcher)
    run(broken, *shape, launcher=launcher)
    compare(broken, unbroken)


def test_a_torn_checkpoint_is_not_resumed_from(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    run(unbroken)
    shutil.copytree(unbroken, broken)
    newest, before = list_complete(broken)[-1], list_complete(broken)[-2]
    with (newest.path / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    assert find_resumable(broken) == before.path
    run(broken)
    compare(broken, unbroken)
    assert find_resumable(broken) == newest.path
    run(broken)
    compare(broken, unbroken)
