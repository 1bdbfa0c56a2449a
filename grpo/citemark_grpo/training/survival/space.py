"""How much may still be written where the checkpoints go.

statvfs knows what is left on the file system, but nothing of the quotas of users, groups and
projects. So the space is also asked for: `fallocate` reserves it in a file that is removed at once,
and the kernel grants or refuses that as it would the write itself, whatever the kind of quota.
File systems that cannot reserve (NFS before 4.2, some FUSE) leave it at statvfs.
"""

import ctypes
import errno
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from citemark_grpo.training.survival.storage import FULL

Source = Literal["statvfs", "reservation"]

# Refusals that say nothing about space: not supported here, or larger than one file may be.
_UNTOLD: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Room:
    """Whether some bytes fit, and who said so."""

    fits: bool
    free: int
    """Bytes left to this user on the file system, quotas aside."""
    source: Source


def free_bytes(folder: Path) -> int:
    """What statvfs says is left to an ordinary user, in bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def room_for(folder: Path, size: int) -> Room:
    """Whether `size` more bytes (>= 0) may be written under `folder`, which exists.

    Raises:
        OSError: the folder cannot be written to for another reason than space.
    """
    free = free_bytes(folder)
    if free < size:
        return Room(fits=False, free=free, source="statvfs")
    granted = _reserved(folder, size)
    if granted is None:
        return Room(fits=True, free=free, source="statvfs")
    return Room(fits=granted, free=free, source="reservation")


def _reserved(folder: Path, size: int) -> bool | None:
    """Whether the kernel grants the space; None where it cannot tell."""
    if size == 0:
        return True
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".reserve-") as file:
            return _granted(file.fileno(), size)
    except OSError as error:
        if error.errno in FULL:
            return False
        raise


def _granted(descriptor: int, size: int) -> bool | None:
    # Not os.posix_fallocate: where the file system cannot reserve, libc writes every block.
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return None
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, 0, 0, size) == 0:
        return True
    code = ctypes.get_errno()
    if code in FULL:
        return False
    if code in _UNTOLD:
        return None
    raise OSError(code, os.strerror(code))
