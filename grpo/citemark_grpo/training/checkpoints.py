"""Checkpoints on disk: complete, or not there at all.

A checkpoint is built in a staging folder, synced, marked and renamed, in this order. The marker
lists every file with its size, so that a folder half copied or half deleted does not pass.
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
    """What a checkpoint holds; the value is the prefix of the folder's name."""

    FULL = "checkpoint"  # all that an exact resume needs, under transformers' own name
    WEIGHTS = "weights"  # the model alone, under a name that transformers does not resume from


@dataclass(frozen=True, slots=True)
class Checkpoint:
    path: Path
    step: int
    kind: Contents
    size: int  # bytes


def list_complete(run: Path) -> list[Checkpoint]:
    """The complete checkpoints of a run, oldest first."""
    if not run.is_dir():
        return []
    found = [each for path in run.iterdir() if (each := _read(path)) is not None]
    # Of one step the full one comes last, as the newer.
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
    """The last one of its kind; `found` is oldest first."""
    return next((each for each in reversed(found) if each.kind is kind), None)


def find_resumable(run: Path) -> Path | None:
    """The newest complete checkpoint; transformers' own search may find a torn one."""
    found = find_newest(list_complete(run))
    return None if found is None else found.path


def list_expendable(found: Sequence[Checkpoint], keep: int = 0) -> list[Checkpoint]:
    """All but the newest `keep` (>= 0) and the newest full one, oldest first."""
    kept = find_newest(found)
    return [each for each in found[: max(0, len(found) - keep)] if each is not kept]


def staging_folder(run: Path, kind: Contents, step: int) -> Path:
    return run / STAGING / f"{kind.value}-{step}"


def seal(built: Path, run: Path) -> Path:
    """Turn what was built in staging into the checkpoint of that name, replacing an older one.

    All of it is synced when this returns; after an `OSError` there is no checkpoint.
    """
    files = list(_files(built))
    for file in files:
        _sync(file)
    sizes = {str(file.relative_to(built)): file.stat().st_size for file in files}
    (built / MARKER).write_text(json.dumps({"files": sizes}, indent=1), encoding="utf-8")
    _sync(built / MARKER)
    # Folders too: else a crash could lose the names of synced files.
    for folder in (built, *(path for path in built.rglob("*") if path.is_dir())):
        _sync(folder)
    # The rename comes last: before it nothing under the checkpoint's name is new.
    place = run / built.name
    discard(place)
    built.rename(place)
    _sync(run)
    return place


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint: first its name, then its files, so that no torn one is ever visible."""
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
        # The new name may need a block in its folder, and none is free: unmark in place.
        (checkpoint / MARKER).unlink(missing_ok=True)
        doomed = checkpoint
    shutil.rmtree(doomed)
    # The space counts as free once this is on the disk.
    _sync(checkpoint.parent)


def sweep_staging(run: Path) -> None:
    """Remove what an interrupted run left in staging."""
    if (run / STAGING).exists():
        shutil.rmtree(run / STAGING)


def staged_bytes(built: Path) -> int:
    return sum(file.stat().st_size for file in _files(built))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
