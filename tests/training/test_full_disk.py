"""A run on a file system that really fills up ends, and can be gone on with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from citemark_grpo.training.checkpoints import (
    STAGING,
    Contents,
    find_resumable,
    list_complete,
    seal,
    staging_folder,
)
from citemark_grpo.training.errors import PolicyUnsaved
from citemark_grpo.training.journal import read_lines
from support.scripted_service import Service
from support.small_disk import mounted
from training.train_command import STEPS, called, command

pytestmark = [pytest.mark.train, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).with_name("tiny_run.py")
# A checkpoint of this policy takes about 8 MiB, its weights a third of that.
DISK = 32
HIDDEN = 256


@pytest.fixture
def disk(request, tmp_path):
    with mounted(request.param, tmp_path / "disk", DISK) as place:
        yield place


def on(*kinds) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("disk", kinds, indirect=True)


def run(disk: Path, *options: str, steps: int = 12) -> str:
    """Train on that disk; what the run said."""
    command = [
        sys.executable, str(PROGRAM), str(disk / "run"), "--policy", str(disk.parent / "policy"),
        "--hidden", str(HIDDEN), "--save-steps", "2", "--steps", str(steps), *options,
    ]  # fmt: skip
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"ended at {steps}" in ended.stdout
    return ended.stderr


def steps_of(disk: Path, kind: Contents = Contents.FULL) -> list[int]:
    return [each.step for each in list_complete(disk / "run") if each.kind is kind]


def journalled(disk: Path) -> list[int]:
    return [line.step for line in read_lines(disk / "run" / "journal.jsonl")]


@on("tmpfs", "ext4")
def test_checkpoints_that_fill_the_disk_make_room_for_newer_ones(disk):
    said = run(disk, "--keep", "9")
    kept = steps_of(disk)
    assert kept[-1] == 12
    assert 2 not in kept
    assert "DISK FULL: a full checkpoint needs" in said
    assert "checkpoint-2 removed to make room" in said
    assert journalled(disk) == list(range(1, 13))
    assert not list((disk / "run").glob(f"{STAGING}/*"))


@on("ext4")
def test_a_disk_that_fills_during_the_write_costs_the_torn_checkpoint_and_the_oldest(disk):
    said = run(disk, "--keep", "9", "--hopeful")
    assert steps_of(disk)[-1] == 12
    assert "is torn after" in said
    assert "checkpoint-2 removed to make room" in said
    assert not list((disk / "run").glob(f"{STAGING}/*"))


@on("ext4")
@pytest.mark.parametrize(
    ("free", "check"),
    # Of these, the check before refuses the full one; without it, the write of it fails.
    [(9_000_000, ()), (5_000_000, ("--hopeful",))],
    ids=["refused before", "fails midway"],
)
def test_where_only_the_weights_fit_they_are_kept_and_the_run_goes_on(disk, free, check):
    said = run(disk, "--keep", "1", "--ballast", f"{disk},5,-1,{free}", *check)
    assert steps_of(disk) == [4]
    assert steps_of(disk, Contents.WEIGHTS)
    assert "WEIGHTS ONLY at step" in said
    assert "a kill now resumes from checkpoint-4" in said
    assert find_resumable(disk / "run") == disk / "run" / "checkpoint-4"
    assert (
        list(read_lines(disk / "run" / "journal.jsonl"))[-1].metrics["checkpoint/weights_only"] > 0
    )

    (disk / "ballast").unlink()
    run(disk, "--keep", "1", steps=14)
    assert steps_of(disk) == [14]
    assert journalled(disk) == list(range(1, 15))


@on("tmpfs")
def test_where_nothing_fits_the_run_goes_on_and_says_so(disk):
    said = run(disk, "--ballast", f"{disk},5,-1,0", steps=10)
    assert steps_of(disk)[-1] == 4
    assert "NO CHECKPOINT at step 10" in said
    assert "while writing the journal" in said


@on("ext4")
def test_what_could_not_be_written_is_written_once_it_fits(disk):
    run(disk, "--ballast", f"{disk},5,9,0", steps=12)
    assert journalled(disk) == list(range(1, 13))
    assert steps_of(disk)[-1] == 12
    assert find_resumable(disk / "run") == disk / "run" / "checkpoint-12"


def end_on(disk: Path, policy: Path, rows: Path, url: str, *more: str) -> str:
    """Train with the command where the policy does not fit; what it said on its way to status 1."""
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - (policy_bytes(policy) // 2)))
    given = command(disk / "run", url=url, policy=policy, rows=rows, resume="never")
    ended = called(*given, *more)
    assert ended.returncode == 1, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr.splitlines()[-1]
    return ended.stderr


def policy_bytes(policy: Path) -> int:
    return (policy / "model.safetensors").stat().st_size


@on("tmpfs")
def test_a_policy_that_does_not_fit_in_the_end_is_no_success(
    disk, policy, rows_file, service: Service
):
    said = end_on(disk, policy, rows_file, service.url, "--save_steps", "0")
    assert said.splitlines()[-1] == (
        "citemark-grpo: the disk is full, the policy is not saved. "
        "No checkpoint is whole yet: the same command begins where this one did."
    )
    assert not list((disk / "run").glob("*.safetensors"))
    assert journalled(disk) == list(range(1, STEPS + 1))


def test_a_policy_that_a_checkpoint_holds_is_not_lost(tmp_path, planned, caplog):
    from citemark_grpo.training.session import settle_unsaved

    run = tmp_path / "run"
    built = staging_folder(run, Contents.WEIGHTS, 6)
    built.mkdir(parents=True)
    (built / "model.safetensors").write_bytes(b"weights")
    kept = seal(built, run)
    (run / "model.safetensors").write_bytes(b"wei")
    settle_unsaved(planned(), 6)
    assert f"the trained policy is in {kept} alone" in caplog.text
    assert not (run / "model.safetensors").exists()
    assert (kept / "model.safetensors").exists()
    with pytest.raises(PolicyUnsaved):
        settle_unsaved(planned(), 7)
