"""Which checkpoints count, which go, and what is tried when; on a real folder."""

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.checkpoints import (
    MARKER,
    STAGING,
    Checkpoint,
    Contents,
    discard,
    find_newest,
    find_resumable,
    list_complete,
    list_expendable,
    seal,
    staging_folder,
)
from citemark_grpo.training.disk import (
    Room,
    check_room,
    free_bytes,
    is_out_of_space,
)
from citemark_grpo.training.keeper import CheckpointKeeper, Ranks, Writer, required_bytes
from support.small_disk import fill, mounted

FULL, WEIGHTS = Contents
SIZE = 1000
REST = required_bytes(0, None)
ROOMY = 10**9


def writer(size: int) -> Writer:
    def write(built: Path) -> None:
        (built / "inside").mkdir(parents=True)
        (built / "model.bin").write_bytes(b"m" * (size - 10))
        (built / "inside" / "rest.bin").write_bytes(b"r" * 10)

    return write


WRITERS = {FULL: writer(SIZE), WEIGHTS: writer(100)}
ESTIMATES = {FULL: SIZE, WEIGHTS: 100}


def make(run: Path, kind: Contents, step: int, size: int = SIZE) -> Path:
    writer(size)(built := staging_folder(run, kind, step))
    return seal(built, run)


@dataclass
class Disk:
    """A quota on a run's complete checkpoints."""

    run: Path
    limit: int = 0

    def __call__(self, folder: Path, size: int) -> Room:
        free = self.limit - sum(each.size for each in list_complete(self.run))
        return Room(fits=size - REST <= free, free=free + REST, source="statvfs")


class Alone(Ranks):
    """A run of one process, without accelerate."""

    def agree(self, answer: bool) -> bool:
        return answer

    def any_of(self, flag: bool) -> bool:
        return flag


def keeper(run: Path, keep: int | None = None, room=check_room) -> CheckpointKeeper:
    return CheckpointKeeper(run, keep=keep, ranks=Alone(leads=True), room=room)


def names(run: Path) -> list[str]:
    return [each.path.name for each in list_complete(run)]


def test_a_checkpoint_is_complete_with_its_marker_and_every_file(tmp_path):
    writer(SIZE)(built := staging_folder(tmp_path, FULL, 5))
    assert list_complete(tmp_path) == []
    sealed = seal(built, tmp_path)
    assert sealed == tmp_path / "checkpoint-5" == find_resumable(tmp_path)
    assert list_complete(tmp_path) == [Checkpoint(sealed, 5, FULL, SIZE)]
    assert not built.exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *((file, content) for file in ("model.bin", "inside/rest.bin") for content in (None, "m")),
        *((MARKER, content) for content in (
            None, "[]", '{"files": 3}', '{"files": {"a": "b"}}', "{", "{}"
        )),
    ],
)  # fmt: skip
def test_without_one_of_its_files_or_with_a_torn_one_it_is_none(file, content, tmp_path):
    path = make(tmp_path, FULL, 5) / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert list_complete(tmp_path) == []
    assert find_resumable(tmp_path) is None


def test_only_full_checkpoints_are_resumed_from_by_number_not_by_name(tmp_path):
    for kind, step in [(FULL, 9), (FULL, 10), (WEIGHTS, 11)]:
        make(tmp_path, kind, step)
    (tmp_path / "checkpoint-12").mkdir()
    assert find_resumable(tmp_path) == tmp_path / "checkpoint-10"
    assert find_resumable(tmp_path / "nowhere") is None


def test_sealing_again_replaces_and_discarding_leaves_nothing(tmp_path):
    for size in (100, 200):
        sealed = make(tmp_path, FULL, 1, size)
    assert list_complete(tmp_path)[0].size == 200
    discard(sealed)
    discard(sealed)
    assert list(tmp_path.iterdir()) == [tmp_path / STAGING]
    assert list((tmp_path / STAGING).iterdir()) == []


found = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from(Contents)), unique=True, max_size=12
).map(
    lambda each: [
        Checkpoint(Path(f"{kind.value}-{step}"), step, kind, 1)
        for step, kind in sorted(each, key=lambda one: (one[0], one[1] is Contents.FULL))
    ]
)


@given(found, st.integers(1, 5))
def test_the_newest_full_one_never_goes_and_the_oldest_go_first(checkpoints, keep):
    kept = find_newest(checkpoints)
    gone = list_expendable(checkpoints, keep)
    assert kept not in gone
    assert list_expendable(checkpoints) == [each for each in checkpoints if each != kept]
    left = [each for each in checkpoints if each not in gone]
    assert len(left) <= keep or left == [kept, *checkpoints[-keep:]]


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_on_a_disk_without_a_byte_left_a_checkpoint_can_be_given_up(kind, tmp_path):
    with mounted(kind, tmp_path / "disk", 8) as disk:
        run = disk / "run"
        for step in (1, 2):
            assert keeper(run).save(step, {FULL: writer(2**20)}, {FULL: 2**20}) is FULL
        fill(disk)
        assert free_bytes(disk) == 0
        shutil.rmtree(run / STAGING)
        assert not check_room(run, 4096).fits
        discard(run / "checkpoint-1")
        assert names(run) == ["checkpoint-2"]
        assert free_bytes(disk) >= 2**20
        assert check_room(run, 2**19).fits


@pytest.mark.parametrize(
    ("keep", "limits", "saved", "left"),
    [
        (2, [ROOMY] * 4, [FULL] * 4, ["checkpoint-3", "checkpoint-4"]),
        (None, [2500] * 3, [FULL] * 3, ["checkpoint-2", "checkpoint-3"]),
        (None, [2500, 2500, 1000], [FULL, FULL, None], ["checkpoint-1", "checkpoint-2"]),
        (None, [1500, 1500, 1000, ROOMY], [FULL, WEIGHTS, None, FULL],
         ["checkpoint-1", "weights-2", "checkpoint-4"]),
    ],
    ids=["rotation", "oldest make room", "none goes in vain", "weights alone, then nothing"],
)  # fmt: skip
def test_what_fits_is_kept_and_the_newest_full_one_stays(
    tmp_path, caplog, *, keep, limits, saved, left
):
    disk = Disk(tmp_path)
    kept = keeper(tmp_path, keep, disk)
    found = []
    for step, disk.limit in enumerate(limits, 1):
        # How large a checkpoint is is learnt from the first.
        found.append(kept.save(step, WRITERS, ESTIMATES if step == 1 else {FULL: 1, WEIGHTS: 1}))
    assert found == saved
    assert names(tmp_path) == left
    assert find_resumable(tmp_path) == tmp_path / left[-1]
    signals, told = kept.signals, caplog.text
    assert signals["checkpoint/resumable_step"] == len(limits) - (saved[-1] is None)
    assert (
        signals["checkpoint/weights_only"] == told.count("WEIGHTS ONLY at") == saved.count(WEIGHTS)
    )
    assert signals["checkpoint/skipped"] == told.count("NO CHECKPOINT at") == saved.count(None)
    why = "by rotation" if keep else "to make room"
    assert (f"checkpoint-1 removed {why}" in told) is ("checkpoint-1" not in left)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_for_space_is_torn_down_and_tried_again(code, tmp_path):
    tries = []

    def full(built: Path) -> None:
        writer(SIZE)(built)
        tries.append(names(tmp_path))
        if len(tries) == 3:
            raise OSError(code, "full")

    kept = keeper(tmp_path)
    for step in (1, 2, 3):
        assert kept.save(step, {FULL: full}, ESTIMATES) is FULL
    assert tries[-2:] == [["checkpoint-1", "checkpoint-2"], ["checkpoint-2"]]
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]
    assert list((tmp_path / STAGING).iterdir()) == []


def test_another_error_is_not_taken_for_a_full_disk_and_what_it_left_is_swept(tmp_path):
    def broken(built: Path) -> None:
        writer(SIZE)(built)
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        keeper(tmp_path).save(7, {FULL: broken}, ESTIMATES)
    keeper(tmp_path).save(8, WRITERS, ESTIMATES)
    assert list((tmp_path / STAGING).iterdir()) == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "No space left on device (os error 28)"), False),
        (Exception("No space left on device (os error 28)"), True),
        (Exception("I/O error: Disk quota exceeded (os error 122)"), True),
        (Exception("Permission denied (os error 13)"), False),
        (Exception("os error 28"), False),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 1 vs 2"), True),
        (RuntimeError("CUDA out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_which_errors_mean_a_full_disk(error, full):
    assert is_out_of_space(error) is full


def test_the_room_is_what_the_disk_says_and_nothing_stays_of_the_question(tmp_path):
    free = free_bytes(tmp_path)
    assert check_room(tmp_path, 0).fits
    assert check_room(tmp_path, 1024 * 1024).fits
    assert not check_room(tmp_path, 2 * free).fits
    assert list(tmp_path.iterdir()) == []
