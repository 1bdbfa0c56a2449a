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

from citemark_grpo.training.survival.storage import out_of_space

MARKER: Final = "complete.json"
STAGING: Final = ".partial"
_NAME: Final = re.compile(r"(checkpoint|weights)-(\d{1,18})")


class Kind(StrEnum):
    """What a checkpoint holds; the value begins the folder's name."""

    FULL = "checkpoint"
    """Everything that an exact resume needs."""
    WEIGHTS = "weights"
    """The model alone: to evaluate or to start anew from, not to resume."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int
    kind: Kind
    size: int
    """Bytes of its files."""


def folder_name(kind: Kind, step: int) -> str:
    """As transformers names it, or `weights-N`."""
    return f"{kind.value}-{step}"


def complete(run: Path) -> list[Checkpoint]:
    """The complete checkpoints of a run, oldest first; none where the folder is missing."""
    if not run.is_dir():
        return []
    found = (_read(path) for path in run.iterdir())
    return sorted((each for each in found if each is not None), key=_age)


def _age(checkpoint: Checkpoint) -> tuple[int, bool]:
    return checkpoint.step, checkpoint.kind is Kind.FULL


def newest(found: Sequence[Checkpoint], kind: Kind = Kind.FULL) -> Checkpoint | None:
    """The newest one of its kind; `found` is oldest first."""
    return next((each for each in reversed(found) if each.kind is kind), None)


def last_complete(run: Path) -> Path | None:
    """The folder to resume from: the newest checkpoint that is whole; None where there is none.

    What transformers' own search finds may be torn; this never is.
    """
    found = newest(complete(run))
    return None if found is None else found.path


def spare(found: Sequence[Checkpoint]) -> Checkpoint | None:
    """The one to give up first: the oldest, but never the newest full one."""
    kept = newest(found)
    return next((each for each in found if each is not kept), None)


def surplus(found: Sequence[Checkpoint], keep: int | None) -> list[Checkpoint]:
    """Those beyond the newest `keep` (>= 1; None keeps all), but never the newest full one."""
    if keep is None:
        return []
    kept = newest(found)
    return [each for each in found[: max(0, len(found) - keep)] if each is not kept]


def _read(path: Path) -> Checkpoint | None:
    name = _NAME.fullmatch(path.name)
    files = _listed(path / MARKER) if name is not None else None
    if name is None or files is None:
        return None
    if any(_size(path / file) != size for file, size in files.items()):
        return None
    return Checkpoint(path, int(name[2]), Kind(name[1]), sum(files.values()))


def _listed(marker: Path) -> dict[str, int] | None:
    try:
        listed = json.loads(marker.read_bytes())["files"]
        return {str(name): int(size) for name, size in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def staged(run: Path, kind: Kind, step: int) -> Path:
    """Where the checkpoint is built; not made yet."""
    return run / STAGING / folder_name(kind, step)


def seal(built: Path, run: Path) -> Path:
    """Make what was built in staging the checkpoint of that name; an older one of it is replaced.

    Every file, the marker and both folders are on the disk when this returns.

    Raises:
        OSError: the disk is full or broken; the checkpoint is not there then.
    """
    files = {str(file.relative_to(built)): file.stat().st_size for file in _files(built)}
    for file in files:
        _sync(built / file)
    (built / MARKER).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    _sync(built / MARKER)
    for folder in (built, *(path for path in built.rglob("*") if path.is_dir())):
        _sync(folder)
    return _moved(built, run / built.name)


def _moved(built: Path, place: Path) -> Path:
    discard(place)
    built.rename(place)
    _sync(place.parent)
    return place


def discard(checkpoint: Path) -> None:
    """Remove a checkpoint, at once for those who look: it leaves its name before its files go.

    Raises:
        OSError: it cannot be removed.
    """
    if not checkpoint.exists():
        return
    shutil.rmtree(_hidden(checkpoint))
    # What was freed counts as free once this is on the disk.
    _sync(checkpoint.parent)


def _hidden(checkpoint: Path) -> Path:
    """The checkpoint under another name, or at least without its marker."""
    doomed = checkpoint.parent / STAGING / f"removed-{checkpoint.name}"
    try:
        doomed.parent.mkdir(exist_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)
        return checkpoint.rename(doomed)
    except OSError as error:
        if not out_of_space(error):
            raise
        # A new name may need a block of its folder, and there is none.
        (checkpoint / MARKER).unlink(missing_ok=True)
        return checkpoint


def sweep(run: Path) -> None:
    """Remove what an interrupted run left in staging.

    Raises:
        OSError: it cannot be removed.
    """
    if (run / STAGING).exists():
        shutil.rmtree(run / STAGING)


def written(built: Path) -> int:
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
