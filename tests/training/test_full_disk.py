"""A run on a file system that really fills up ends, and can be gone on with."""

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
from citemark_grpo.training.plan import plan_run
from support.scripted_service import Service, Step, answering
from support.small_disk import fill, mounted
from training.conftest import make_policy
from training.train_command import called, command, succeeded, tiny_run

pytestmark = [pytest.mark.train, pytest.mark.timeout(900)]

# A checkpoint of this policy takes about 8 MiB, its weights a third of that.
DISK = 32
HIDDEN = 176
ON_EXT4 = pytest.mark.parametrize("disk", ["ext4"], indirect=True)
ON_TMPFS = pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy"), HIDDEN)


@pytest.fixture
def disk(request, tmp_path):
    with mounted(request.param, tmp_path / "disk", DISK) as place:
        yield place


@pytest.fixture
def run(flags, disk):
    """`run(steps=12)` trains on that disk; what the run said."""

    def train(*, steps: int = 12, hopeful: bool = False, **given: int) -> str:
        small = {"max_steps": steps, "num_unique_prompts_rollout": 1, "learning_rate": 3e-2}
        ended = succeeded(tiny_run(flags(disk / "run", **small, **given), hopeful=hopeful))
        assert f"ended at {steps}" in ended.stdout
        return ended.stderr

    return train


def weighed_down(disk: Path, first: int, last: int, free: int) -> Step:
    """A judge beside another user of the disk, who leaves only `free` bytes between two steps."""

    def answer(body):
        step = body["items"][0]["step"]
        if step == first and not (disk / "ballast").exists():
            fill(disk, free)
        elif step == last:
            (disk / "ballast").unlink(missing_ok=True)
        return answering(body)

    return answer


def steps_of(disk: Path, kind: Contents = Contents.FULL) -> list[int]:
    return [each.step for each in list_complete(disk / "run") if each.kind is kind]


def journalled(disk: Path) -> list[int]:
    return [line.step for line in read_lines(disk / "run" / "journal.jsonl")]


@pytest.mark.parametrize(
    ("disk", "hopeful", "why"),
    [
        ("tmpfs", False, "DISK FULL: a full checkpoint needs"),
        ("ext4", False, "DISK FULL: a full checkpoint needs"),
        # Where the disk fills during the write, the torn checkpoint goes too.
        ("ext4", True, "is torn after"),
    ],
    indirect=["disk"],
)
def test_checkpoints_that_fill_the_disk_make_room_for_newer_ones(disk, run, hopeful, why):
    said = run(keep_checkpoints=9, hopeful=hopeful)
    kept = steps_of(disk)
    assert kept[-1] == 12
    assert 2 not in kept
    assert why in said
    assert "checkpoint-2 removed to make room" in said
    assert journalled(disk) == list(range(1, 13))
    assert not list((disk / "run").glob(f"{STAGING}/*"))


@ON_EXT4
@pytest.mark.parametrize(
    ("free", "hopeful"),
    # Of these, the check before refuses the full one; without it, the write of it fails.
    [(9_000_000, False), (5_000_000, True)],
    ids=["refused before", "fails midway"],
)
def test_where_only_the_weights_fit_they_are_kept_and_the_run_goes_on(
    disk, run, service: Service, free, hopeful
):
    service.steps = [weighed_down(disk, 5, -1, free)] * 12
    said = run(keep_checkpoints=1, hopeful=hopeful)
    assert steps_of(disk) == [4]
    assert steps_of(disk, Contents.WEIGHTS)
    assert "WEIGHTS ONLY at step" in said
    assert "a kill now resumes from checkpoint-4" in said
    assert find_resumable(disk / "run") == disk / "run" / "checkpoint-4"
    (*_, last) = read_lines(disk / "run" / "journal.jsonl")
    assert last.metrics["checkpoint/weights_only"] > 0

    (disk / "ballast").unlink()
    run(keep_checkpoints=1, steps=14)
    assert steps_of(disk) == [14]
    assert journalled(disk) == list(range(1, 15))


@ON_TMPFS
def test_where_nothing_fits_the_run_goes_on_and_says_so(disk, run, service: Service):
    service.steps = [weighed_down(disk, 5, -1, 0)] * 10
    said = run(steps=10)
    assert steps_of(disk)[-1] == 4
    assert "NO CHECKPOINT at step 10" in said
    assert "while writing the journal" in said
    assert (disk / "run" / "journal.jsonl").read_bytes().endswith(b"\n"), "not torn"


@ON_EXT4
def test_what_could_not_be_written_is_written_once_it_fits(disk, run, service: Service):
    service.steps = [weighed_down(disk, 5, 9, 0)] * 12
    run()
    assert journalled(disk) == list(range(1, 13))
    assert steps_of(disk)[-1] == 12
    assert find_resumable(disk / "run") == disk / "run" / "checkpoint-12"


@ON_TMPFS
def test_a_policy_that_does_not_fit_in_the_end_is_no_success(disk, policy, flags):
    fill(disk, (policy / "model.safetensors").stat().st_size // 2)
    ended = called(command(flags(disk / "run", resume="never", save_steps=0)))
    assert ended.returncode == 1, ended.stderr[-3000:]
    assert ended.stderr.splitlines()[-1] == (
        "citemark-grpo: the disk is full, the policy is not saved. "
        "No checkpoint is whole yet: the same command begins where this one did."
    )
    assert not list((disk / "run").glob("*.safetensors"))
    assert journalled(disk) == list(range(1, 7))


def test_a_policy_that_a_checkpoint_holds_is_not_lost(tmp_path, flags, caplog):
    from citemark_grpo.training.session import settle_unsaved

    run = tmp_path / "run"
    plan = plan_run(flags(run))
    built = staging_folder(run, Contents.WEIGHTS, 6)
    built.mkdir(parents=True)
    (built / "model.safetensors").write_bytes(b"weights")
    kept = seal(built, run)
    (run / "model.safetensors").write_bytes(b"wei")
    settle_unsaved(plan, 6)
    assert f"the trained policy is in {kept} alone" in caplog.text
    assert not (run / "model.safetensors").exists()
    assert (kept / "model.safetensors").exists()
    with pytest.raises(PolicyUnsaved):
        settle_unsaved(plan, 7)
