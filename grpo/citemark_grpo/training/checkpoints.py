"""Checkpoints on disk: complete, or not there at all.

A checkpoint is built in a staging folder, synced, marked and renamed, in this order. The marker
lists every file with its size, so that a folder that lost one (half copied, half deleted) is seen
for what it is. Weights-only checkpoints have another name, which no one resumes from by mistake.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from citemark_grpo.training.disk import is_out_of_space

MARKER: Final = "complete.json"
STAGING: Final = ".partial"
_NAME: Final = re.compile(r"(checkpoint|weights)-(\d{1,18})")


class Contents(StrEnum):
    """What a checkpoint holds; the value begins the folder's name."""

    FULL = "checkpoint"
    """Everything that an exact resume needs; named as transformers names it."""
    WEIGHTS = "weights"
    """The model alone: to evaluate or to start anew from, not to resume."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint; `size` is the bytes of its files."""

    path: Path
    step: int
    kind: Contents
    size: int


def list_complete(run: Path) -> list[Checkpoint]:
    """The complete checkpoints of a run, oldest first; none where the folder is missing."""
    if not run.is_dir():
        return []
    found = [each for path in run.iterdir() if (each := _read(path)) is not None]
    return sorted(found, key=lambda each: (each.step, each.kind is Contents.FULL))


def _read(path: Path) -> Checkpoint | None:
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        sizes = json.loads((path / MARKER).read_bytes())["files"].items()
        if any((path / file).stat().st_size != size for file, size in sizes):
            return None
        return Checkpoint(path, int(name[2]), Contents(name[1]), sum(size for _, size in sizes))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no marker, a torn one, or a file that is gone


def find_newest(found: Sequence[Checkpoint], kind: Contents = Contents.FULL) -> Checkpoint | None:
    """The newest one of its kind; `found` is oldest first."""
    return next((each for each in reversed(found) if each.kind is kind), None)


def find_resumable(run: Path) -> Path | None:
    """The folder to resume from: the newest checkpoint that is whole; None where there is none.

    What transformers' own search finds may be torn; this never is.
    """
    found = find_newest(list_complete(run))
    return None if found is None else found.path


def list_expendable(found: Sequence[Checkpoint], keep: int = 0) -> list[Checkpoint]:
    """Those beyond the newest `keep` (>= 0), oldest first, but never the newest full one."""
    kept = find_newest(found)
    return [each for each in found[: max(0, len(found) - keep)] if each is not kept]


def staging_folder(run: Path, kind: Contents, step: int) -> Path:
    """Where the checkpoint is built; not made yet."""
    return run / STAGING / f"{kind.value}-{step}"


def seal(built: Path, run: Path) -> Path:
    """Make what was built in staging the checkpoint of that name; an older one of it is replaced.

    Every file, the marker and both folders are on the disk when this returns.

    Raises:
        OSError: the disk is full or broken; the checkpoint is not there then.
    """
    files = list(_files(built))
    for file in files:
        _sync(file)
    sizes = {str(file.relative_to(built)): file.stat().st_size for file in files}
    (built / MARKER).write_text(json.dumps({"files": sizes}, indent=1), encoding="utf-8")
    _sync(built / MARKER)
    for folder in (built, *(path for path in built.rglob("*") if path.is_dir())):
        _sync(folder)
    place = run / built.name
    discard(place)
    built.rename(place)
    _sync(run)
    return place


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint, at once for those who look: it leaves its name before its files go.

    Raises:
        OSError: it cannot be removed.
    """
    if not checkpoint.exists():
        return
    doomed = checkpoint.parent / STAGING / f"removed-{checkpoint.name}"
    try:
        doomed.parent.mkdir(exist_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)
        checkpoint.rename(doomed)
    except OSError as error:
        if not is_out_of_space(error):
            raise
        # A new name may need a block of its folder, and there is none: unmark it in place.
        (checkpoint / MARKER).unlink(missing_ok=True)
        doomed = checkpoint
    shutil.rmtree(doomed)
    # What was freed counts as free once this is on the disk.
    _sync(checkpoint.parent)


def sweep_staging(run: Path) -> None:
    """Remove what an interrupted run left in staging.

    Raises:
        OSError: it cannot be removed.
    """
    if (run / STAGING).exists():
        shutil.rmtree(run / STAGING)


def staged_bytes(built: Path) -> int:
    """Bytes that stand in staging, 0 where nothing does."""
    return sum(file.stat().st_size for file in _files(built))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
