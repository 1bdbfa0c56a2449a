"""Checkpoints under a full disk: make room, write weights alone, or go on without.

Before and during a write the oldest checkpoints go first, one by one, but never the newest full
one; then the weights alone are tried in the same way; then training goes on without a checkpoint.

With DeepSpeed or FSDP, a process whose write fails alone leaves the others in a collective. The
check beforehand makes that rare, the process group's timeout ends it, and the newest complete
checkpoint is untouched.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from citemark_grpo.training.checkpoints import (
    Checkpoint,
    Contents,
    discard,
    find_newest,
    list_complete,
    list_expendable,
    seal,
    staged_bytes,
    staging_folder,
    sweep_staging,
)
from citemark_grpo.training.disk import Room, check_room, free_bytes, outlive_full_disk

# Writes a checkpoint into a folder that may not exist yet; called in every process.
Writer = Callable[[Path], None]

_log: Final = logging.getLogger(__name__)
_MIB: Final = 1024 * 1024
_GIB: Final = 1024**3


def required_bytes(estimate: int, last: Checkpoint | None) -> int:
    """Bytes to have free before a checkpoint; `last` is the newest of its kind."""
    size = estimate if last is None else last.size
    # States grow a little, and folders take blocks too.
    return size + size // 20 + _MIB


class Ranks:
    """The processes of an initialised accelerate state.

    The leader decides what happens to a checkpoint and all do it: a process that did otherwise
    would leave the others waiting in a collective.
    """

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads

    def agree(self, answer: bool) -> bool:
        """The leader's `answer`, in every process."""
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415 - imports torch

        box = [answer]
        broadcast_object_list(box, from_process=0)
        return box[0]

    def any_of(self, flag: bool) -> bool:
        """Whether `flag` is true in at least one process; all must call it."""
        from accelerate.utils import gather_object  # noqa: PLC0415 - imports torch

        return any(gather_object([flag]))


class CheckpointKeeper:
    """The checkpoints of one run.

    Args:
        run: The run's folder, which may not exist yet.
        keep: Complete checkpoints to keep, >= 1; None keeps all.
        ranks: All processes of the run call `save` at the same steps.
    """

    def __init__(
        self,
        run: Path,
        *,
        keep: int | None,
        ranks: Ranks,
        room: Callable[[Path, int], Room] = check_room,
    ) -> None:
        self._run = run
        self._keep = keep
        self._ranks = ranks
        self._room = room
        self._weights_only = 0
        self._skipped = 0

    def save(
        self, step: int, writers: Mapping[Contents, Writer], estimates: Mapping[Contents, int]
    ) -> Contents | None:
        """Write a checkpoint of the first kind that fits; returns it, or None if none does.

        The result is the same in all processes.

        Args:
            step: Optimizer steps done.
            writers: By kind, the best first.
            estimates: Bytes that each kind takes where none has been written yet.
        """
        for kind, write in writers.items():
            while self._decide(self._make_room, kind, estimates[kind]):
                if self._write(kind, step, write):
                    self._decide(self._rotate)
                    self._report(kind, step)
                    return kind
                # The check was wrong, or others write to the disk: drop one more, and try again.
                if not self._decide(self._drop_oldest):
                    break
        self._report(None, step)
        return None

    @property
    def signals(self) -> dict[str, float]:
        """Metrics, always with the same keys."""
        last = find_newest(list_complete(self._run))
        return {
            "checkpoint/resumable_step": float(0 if last is None else last.step),
            "checkpoint/weights_only": float(self._weights_only),
            "checkpoint/skipped": float(self._skipped),
            "checkpoint/free_gib": (free_bytes(self._run) if self._run.is_dir() else 0) / _GIB,
        }

    def _decide(self, decide: Callable[..., bool], *arguments: object) -> bool:
        return self._ranks.agree(decide(*arguments) if self._ranks.leads else False)

    def _make_room(self, kind: Contents, estimate: int) -> bool:
        """Delete old checkpoints until this one fits; False where it cannot."""
        self._run.mkdir(parents=True, exist_ok=True)
        sweep_staging(self._run)
        size = required_bytes(estimate, find_newest(list_complete(self._run), kind))
        while not (room := self._room(self._run, size)).fits:
            _log.error(
                "DISK FULL: a %s checkpoint needs %d bytes, %d are free (refused by %s)",
                kind.name.lower(), size, room.free, room.source,
            )  # fmt: skip
            expendable = sum(each.size for each in list_expendable(list_complete(self._run)))
            # Nothing is deleted where all deletions together would not suffice.
            if size > room.free + expendable or not self._drop_oldest():
                return False
        return True

    def _drop_oldest(self) -> bool:
        expendable = list_expendable(list_complete(self._run))
        return bool(expendable) and self._remove(expendable[0], "to make room")

    def _rotate(self) -> bool:
        found = list_complete(self._run)
        surplus = [] if self._keep is None else list_expendable(found, self._keep)
        removed = [self._remove(each, "by rotation") for each in surplus]
        return all(removed)

    def _remove(self, checkpoint: Checkpoint, why: str) -> bool:
        try:
            discard(checkpoint.path)
        except OSError:
            _log.exception("%s cannot be removed", checkpoint.path.name)
            return False
        _log.warning("%s removed %s", checkpoint.path.name, why)
        return True

    def _write(self, kind: Contents, step: int, write: Writer) -> bool:
        """Write and seal; False, with staging empty, where the disk filled up in any process."""
        built = staging_folder(self._run, kind, step)
        with outlive_full_disk(built.name, _log) as writing:
            write(built)
        torn = self._ranks.any_of(writing.failed)
        if not torn and self._ranks.leads:
            with outlive_full_disk(built.name, _log) as writing:
                seal(built, self._run)
        # The leader seals alone; only here do the others learn how that went.
        torn = self._ranks.any_of(torn or writing.failed)
        if torn and self._ranks.leads:
            _log.error("%s is torn after %d bytes; removed", built.name, staged_bytes(built))
            sweep_staging(self._run)
        return not torn

    def _report(self, kind: Contents | None, step: int) -> None:
        if kind is Contents.FULL or not self._ranks.leads:
            return
        last = find_newest(list_complete(self._run))
        resumable = "the run's start" if last is None else last.path.name
        if kind is None:
            self._skipped += 1
            _log.error("NO CHECKPOINT at step %d: the disk is full. Training goes on; a kill "
                       "now loses all since %s", step, resumable)  # fmt: skip
        else:
            self._weights_only += 1
            _log.error("WEIGHTS ONLY at step %d: the disk is full. Training goes on; a kill "
                       "now resumes from %s", step, resumable)  # fmt: skip
