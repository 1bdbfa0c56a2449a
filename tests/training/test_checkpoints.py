"""Which checkpoints count, which go, and what is tried when; on a real folder."""

import errno
import logging
import shutil
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
    outlive_full_disk,
)
from citemark_grpo.training.keeper import CheckpointKeeper, Ranks, required_bytes
from training.small_disk import mounted

SIZE = 1000
REST = required_bytes(0, None)


def write(built: Path) -> None:
    (built / "inside").mkdir(parents=True)
    (built / "model.bin").write_bytes(b"m" * (SIZE - 10))
    (built / "inside" / "rest.bin").write_bytes(b"r" * 10)


def write_weights(built: Path) -> None:
    built.mkdir(parents=True)
    (built / "model.bin").write_bytes(b"m" * 100)


WRITERS = {Contents.FULL: write, Contents.WEIGHTS: write_weights}
ESTIMATES = {Contents.FULL: SIZE, Contents.WEIGHTS: 100}


class Disk:
    """A quota on a real folder: what is in it counts, the room for marker and folders aside."""

    def __init__(self, run: Path, bytes_left: int) -> None:
        self._run = run
        self.limit = bytes_left

    def __call__(self, folder: Path, size: int) -> Room:
        used = sum(
            file.stat().st_size
            for file in self._run.rglob("*")
            if file.is_file() and file.name != MARKER
        )
        free = self.limit - used
        return Room(fits=size - REST <= free, free=free + REST, source="statvfs")


class Alone(Ranks):
    """A run of one process, without accelerate."""

    def agree(self, answer: bool) -> bool:
        return answer

    def any_of(self, flag: bool) -> bool:
        return flag


def keeper(run: Path, *, keep: int | None = None, limit: int = 10**9) -> CheckpointKeeper:
    return CheckpointKeeper(run, keep=keep, ranks=Alone(leads=True), room=Disk(run, limit))


def names(run: Path) -> list[str]:
    return [each.path.name for each in list_complete(run)]


def test_a_checkpoint_is_complete_with_its_marker_and_every_file(tmp_path):
    write(built := staging_folder(tmp_path, Contents.FULL, 5))
    assert list_complete(tmp_path) == []
    sealed = seal(built, tmp_path)
    assert sealed == tmp_path / "checkpoint-5" == find_resumable(tmp_path)
    assert list_complete(tmp_path) == [Checkpoint(sealed, 5, Contents.FULL, SIZE)]
    assert not built.exists()


@pytest.mark.parametrize("file", ["model.bin", "inside/rest.bin", MARKER])
@pytest.mark.parametrize("torn", ["gone", "short"])
def test_without_one_of_its_files_it_is_none(file, torn, tmp_path):
    write(built := staging_folder(tmp_path, Contents.FULL, 5))
    path = seal(built, tmp_path) / file
    if torn == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert find_resumable(tmp_path) is None


@pytest.mark.parametrize("marker", ["[]", '{"files": 3}', '{"files": {"a": "b"}}', "{", "{}"])
def test_a_strange_marker_is_none(marker, tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / MARKER).write_text(marker)
    assert list_complete(tmp_path) == []


def test_only_full_checkpoints_are_resumed_from_by_number_not_by_name(tmp_path):
    for kind, step in [
        (Contents.FULL, 9),
        (Contents.FULL, 10),
        (Contents.WEIGHTS, 11),
    ]:
        write(built := staging_folder(tmp_path, kind, step))
        seal(built, tmp_path)
    (tmp_path / "checkpoint-12").mkdir()
    assert find_resumable(tmp_path) == tmp_path / "checkpoint-10"
    assert find_resumable(tmp_path / "nowhere") is None


def test_sealing_again_replaces_and_discarding_leaves_nothing(tmp_path):
    for size in (1, 2):
        built = staging_folder(tmp_path, Contents.FULL, 1)
        built.mkdir(parents=True)
        (built / "a").write_bytes(b"x" * size)
        seal(built, tmp_path)
    assert list_complete(tmp_path)[0].size == 2
    discard(tmp_path / "checkpoint-1")
    discard(tmp_path / "checkpoint-1")
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
        kept = CheckpointKeeper(run, keep=None, ranks=Alone(leads=True), room=check_room)
        for step in (1, 2):
            assert (
                kept.save(step, {Contents.FULL: write_mebibyte}, {Contents.FULL: 2**20})
                is Contents.FULL
            )
        fill(disk)
        assert free_bytes(disk) == 0
        shutil.rmtree(run / STAGING)
        assert not check_room(run, 4096).fits
        discard(run / "checkpoint-1")
        assert names(run) == ["checkpoint-2"]
        assert free_bytes(disk) >= 2**20
        assert check_room(run, 2**19).fits


def write_mebibyte(built: Path) -> None:
    built.mkdir(parents=True)
    (built / "model.bin").write_bytes(bytes(2**20))


def fill(disk: Path) -> None:
    """To the last byte, and of its inodes as many as directories would need."""
    for size in (4096, 512, 1):
        with (disk / f"ballast-{size}").open("wb", buffering=0) as file:
            _until_full(file, size)


def _until_full(file, size):
    try:
        while file.write(bytes(size)):
            pass
    except OSError:
        return


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_what_is_needed_is_learnt_from_the_last_one(estimate, size):
    last = Checkpoint(Path(), 1, Contents.FULL, size)
    assert required_bytes(estimate, last) == required_bytes(size, None) > size


def test_rotation_keeps_the_newest(tmp_path):
    kept = keeper(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        assert kept.save(step, WRITERS, ESTIMATES) is Contents.FULL
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-4"]
    assert kept.signals["checkpoint/resumable_step"] == 4.0


def test_the_oldest_make_room(tmp_path, caplog):
    kept = keeper(tmp_path, limit=2 * SIZE + SIZE // 2)
    for step in (1, 2, 3):
        assert kept.save(step, WRITERS, ESTIMATES) is Contents.FULL
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]
    assert "checkpoint-1 removed to make room" in caplog.text


def test_then_the_weights_alone_then_nothing_and_the_newest_full_one_stays(tmp_path, caplog):
    disk = Disk(tmp_path, SIZE + SIZE // 2)
    kept = CheckpointKeeper(tmp_path, keep=None, ranks=Alone(leads=True), room=disk)
    assert kept.save(1, WRITERS, ESTIMATES) is Contents.FULL
    assert kept.save(2, WRITERS, ESTIMATES) is Contents.WEIGHTS
    assert names(tmp_path) == ["checkpoint-1", "weights-2"]
    disk.limit = SIZE
    assert kept.save(3, WRITERS, ESTIMATES) is None
    assert names(tmp_path)[0] == "checkpoint-1"
    assert "WEIGHTS ONLY at step 2" in caplog.text
    assert "NO CHECKPOINT at step 3" in caplog.text
    signals = kept.signals
    assert (signals["checkpoint/weights_only"], signals["checkpoint/skipped"]) == (1.0, 1.0)
    disk.limit = 10**9
    assert kept.save(4, WRITERS, ESTIMATES) is Contents.FULL
    assert find_resumable(tmp_path) == tmp_path / "checkpoint-4"


def test_nothing_is_given_up_where_that_would_not_be_enough(tmp_path):
    kept = keeper(tmp_path, limit=2 * SIZE + SIZE // 2)
    for step in (1, 2):
        kept.save(step, WRITERS, ESTIMATES)
    (tmp_path / "others").write_bytes(bytes(SIZE // 2 + SIZE))
    assert kept.save(3, WRITERS, ESTIMATES) is None
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_for_space_is_torn_down_and_tried_again(code, tmp_path):
    tries = []

    def full(built: Path) -> None:
        write(built)
        tries.append(names(tmp_path))
        if len(tries) == 3:
            raise OSError(code, "full")

    kept = keeper(tmp_path)
    for step in (1, 2, 3):
        assert kept.save(step, {Contents.FULL: full}, ESTIMATES) is Contents.FULL
    assert tries[-2:] == [["checkpoint-1", "checkpoint-2"], ["checkpoint-2"]]
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]
    assert list((tmp_path / STAGING).iterdir()) == []


def test_another_error_is_not_taken_for_a_full_disk(tmp_path):
    def broken(_: Path) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        keeper(tmp_path).save(1, {Contents.FULL: broken}, ESTIMATES)


def test_what_a_kill_left_in_staging_is_swept(tmp_path):
    write(staging_folder(tmp_path, Contents.FULL, 7))
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


def test_an_outlived_block_says_so_and_lets_other_errors_pass(caplog):
    log = logging.getLogger("test")
    with outlive_full_disk("the notes", log) as writing:
        raise OSError(errno.ENOSPC, "full")
    assert writing.failed
    assert "DISK FULL while writing the notes" in caplog.text
    with pytest.raises(ValueError, match="other"), outlive_full_disk("the notes", log):
        raise ValueError("other")


def test_the_room_is_what_the_disk_says_and_nothing_stays_of_the_question(tmp_path):
    free = free_bytes(tmp_path)
    assert check_room(tmp_path, 0).fits
    assert check_room(tmp_path, 1024 * 1024).fits
    assert not check_room(tmp_path, 2 * free).fits
    assert list(tmp_path.iterdir()) == []
