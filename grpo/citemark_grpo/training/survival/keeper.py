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

from citemark_grpo.training.survival.folders import (
    Checkpoint,
    Kind,
    complete,
    discard,
    newest,
    seal,
    spare,
    staged,
    surplus,
    sweep,
    written,
)
from citemark_grpo.training.survival.ranks import Ranks
from citemark_grpo.training.survival.space import Room, free_bytes, room_for
from citemark_grpo.training.survival.storage import Outlived

Writer = Callable[[Path], None]
"""Writes a checkpoint into a folder that may not exist yet; called in every process."""

_log: Final = logging.getLogger(__name__)
_REST: Final = 1024 * 1024
_GIB: Final = 1024**3


def needed(estimate: int, last: Checkpoint | None) -> int:
    """Bytes to have free before a checkpoint: what the last of its kind took, else the estimate.

    A twentieth and a mebibyte more: states grow a little, and folders take blocks too.
    """
    size = estimate if last is None else last.size
    return size + size // 20 + _REST


class Keeper:
    """The checkpoints of one run.

    Args:
        run: The run's folder; made where it is missing.
        keep: Complete checkpoints to keep, >= 1; None keeps all.
        ranks: The processes of the run; all of them call `save` at the same steps.
        room: Tells whether some bytes fit; see `space.room_for`.
    """

    def __init__(
        self,
        run: Path,
        *,
        keep: int | None,
        ranks: Ranks,
        room: Callable[[Path, int], Room] = room_for,
    ) -> None:
        self._run = run
        self._keep = keep
        self._ranks = ranks
        self._room = room
        self._weights_only = 0
        self._skipped = 0

    def save(
        self, step: int, writers: Mapping[Kind, Writer], estimates: Mapping[Kind, int]
    ) -> Kind | None:
        """Keep a checkpoint of this step in the first of the given kinds that fits.

        Args:
            step: Optimizer steps done.
            writers: By kind, the best first.
            estimates: Bytes that each kind takes where none has been written yet.

        Returns:
            The kind that was kept, None where none fitted. Equal in all processes.
        """
        for kind, write in writers.items():
            if self._kept(kind, step, write, estimates[kind]):
                self._report(kind, step)
                return kind
        self._report(None, step)
        return None

    @property
    def signals(self) -> dict[str, float]:
        """How the checkpoints stand, as metrics; always the same keys."""
        last = newest(complete(self._run))
        return {
            "checkpoint/resumable_step": float(0 if last is None else last.step),
            "checkpoint/weights_only": float(self._weights_only),
            "checkpoint/skipped": float(self._skipped),
            "checkpoint/free_gib": (free_bytes(self._run) if self._run.is_dir() else 0) / _GIB,
        }

    def _kept(self, kind: Kind, step: int, write: Writer, estimate: int) -> bool:
        while self._told(lambda: self._roomy(kind, estimate)):
            if self._written(kind, step, write):
                self._told(self._rotated)
                return True
            if not self._told(self._dropped):
                return False
        return False

    def _told(self, decide: Callable[[], bool]) -> bool:
        return self._ranks.told(decide() if self._ranks.leads else False)

    def _roomy(self, kind: Kind, estimate: int) -> bool:
        """Whether the checkpoint fits, after as many deletions as that takes."""
        self._run.mkdir(parents=True, exist_ok=True)
        sweep(self._run)
        size = needed(estimate, newest(complete(self._run), kind))
        while not (room := self._asked(size, kind)).fits:
            if size > room.free + self._spared() or not self._dropped():
                return False
        return True

    def _spared(self) -> int:
        """Bytes that deletions bring at most; where that is too little, nothing is given up."""
        found = complete(self._run)
        kept = newest(found)
        return sum(each.size for each in found if each is not kept)

    def _asked(self, size: int, kind: Kind) -> Room:
        room = self._room(self._run, size)
        if not room.fits:
            _log.error(
                "DISK FULL: a %s checkpoint needs %d bytes, %d are free (refused by %s)",
                kind.name.lower(), size, room.free, room.source,
            )  # fmt: skip
        return room

    def _dropped(self) -> bool:
        """Give up the oldest checkpoint; False where there is none to give."""
        victim = spare(complete(self._run))
        return victim is not None and self._removed(victim, "to make room")

    def _rotated(self) -> bool:
        old = surplus(complete(self._run), self._keep)
        removed = [self._removed(each, "by rotation") for each in old]
        return all(removed)

    def _removed(self, checkpoint: Checkpoint, why: str) -> bool:
        try:
            discard(checkpoint.path)
        except OSError:
            _log.exception("%s cannot be removed", checkpoint.path.name)
            return False
        _log.warning("%s removed %s", checkpoint.path.name, why)
        return True

    def _written(self, kind: Kind, step: int, write: Writer) -> bool:
        built = staged(self._run, kind, step)
        with Outlived(built.name, _log) as writing:
            write(built)
        torn = self._ranks.some(writing.failed)
        if not torn and self._ranks.leads:
            with Outlived(built.name, _log) as writing:
                seal(built, self._run)
        torn = self._ranks.some(torn or writing.failed)
        if torn and self._ranks.leads:
            _log.error("%s is torn after %d bytes; removed", built.name, written(built))
            sweep(self._run)
        return not torn

    def _report(self, kind: Kind | None, step: int) -> None:
        if kind is Kind.FULL or not self._ranks.leads:
            return
        last = newest(complete(self._run))
        resumable = "the run's start" if last is None else last.path.name
        if kind is None:
            self._skipped += 1
            _log.error("NO CHECKPOINT at step %d: the disk is full. Training goes on; a kill "
                       "now loses all since %s", step, resumable)  # fmt: skip
        else:
            self._weights_only += 1
            _log.error("WEIGHTS ONLY at step %d: the disk is full. Training goes on; a kill "
                       "now resumes from %s", step, resumable)  # fmt: skip
