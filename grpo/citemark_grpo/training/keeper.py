"""One checkpoint, whatever the disk says: make room, write, or go on without it, loudly.

The order of giving up: the oldest checkpoints go, one after the other, but never the newest full
one; then the weights alone are tried in the same way; then training goes on without. The same
happens where the check before was too hopeful and the disk fills during the write.

With DeepSpeed or FSDP a single process whose write fails alone leaves the collectives of the
others inside their saving; the check before makes that rare, the process group's timeout ends it,
and the newest complete checkpoint is untouched.
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

Writer = Callable[[Path], None]
"""Writes a checkpoint into a folder that may not exist yet; called in every process."""

_log: Final = logging.getLogger(__name__)
_MIB: Final = 1024 * 1024
_GIB: Final = 1024**3


def required_bytes(estimate: int, last: Checkpoint | None) -> int:
    """Bytes to have free before a checkpoint: what the last of its kind took, else the estimate.

    A twentieth and a mebibyte more: states grow a little, and folders take blocks too.
    """
    size = estimate if last is None else last.size
    return size + size // 20 + _MIB


class Ranks:
    """The processes of an initialised accelerate state.

    What happens to a checkpoint is decided by the process that leads and done by all: a process
    that went its own way would leave the others waiting in a collective for ever.
    """

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads

    def agree(self, answer: bool) -> bool:
        """The leader's answer, in every process; what the others pass is ignored."""
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415 - imports torch

        box = [answer]
        broadcast_object_list(box, from_process=0)
        return box[0]

    def any_of(self, flag: bool) -> bool:
        """Whether it is true in at least one process; returns once all have asked."""
        from accelerate.utils import gather_object  # noqa: PLC0415 - imports torch

        return any(gather_object([flag]))


class CheckpointKeeper:
    """The checkpoints of one run.

    Args:
        run: The run's folder; made where it is missing.
        keep: Complete checkpoints to keep, >= 1; None keeps all.
        ranks: The processes of the run; all of them call `save` at the same steps.
        room: Whether some bytes fit; see `disk.check_room`.
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
        """Keep a checkpoint of this step in the first of the given kinds that fits.

        Args:
            step: Optimizer steps done.
            writers: By kind, the best first.
            estimates: Bytes that each kind takes where none has been written yet.

        Returns:
            The kind that was kept, None where none fitted. Equal in all processes.
        """
        for kind, write in writers.items():
            while self._decide(self._make_room, kind, estimates[kind]):
                if self._write(kind, step, write):
                    self._decide(self._rotate)
                    self._report(kind, step)
                    return kind
                if not self._decide(self._drop_oldest):
                    break
        self._report(None, step)
        return None

    @property
    def signals(self) -> dict[str, float]:
        """How the checkpoints stand, as metrics; always the same keys."""
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
        """Whether the checkpoint fits, after as many deletions as that takes."""
        self._run.mkdir(parents=True, exist_ok=True)
        sweep_staging(self._run)
        size = required_bytes(estimate, find_newest(list_complete(self._run), kind))
        while not (room := self._room(self._run, size)).fits:
            _log.error(
                "DISK FULL: a %s checkpoint needs %d bytes, %d are free (refused by %s)",
                kind.name.lower(), size, room.free, room.source,
            )  # fmt: skip
            expendable = sum(each.size for each in list_expendable(list_complete(self._run)))
            # Where all deletions together would not do, nothing is given up.
            if size > room.free + expendable or not self._drop_oldest():
                return False
        return True

    def _drop_oldest(self) -> bool:
        """Give up the oldest checkpoint; False where there is none to give."""
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
        """Write and seal; False where the disk filled up in any process, and what is torn went."""
        built = staging_folder(self._run, kind, step)
        with outlive_full_disk(built.name, _log) as writing:
            write(built)
        torn = self._ranks.any_of(writing.failed)
        if not torn and self._ranks.leads:
            with outlive_full_disk(built.name, _log) as writing:
                seal(built, self._run)
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
