"""Full disks: how to recognise one, how to outlive one, and how much still fits.

Python raises `OSError` with an errno. The Rust libraries put it into their text (safetensors:
`SafetensorError`; tokenizers: a bare `Exception`), and torch's zip writer gives no errno at all,
only that its stream broke.

statvfs reports what is left on the file system, but not the quotas of users, groups and projects.
So the space is also reserved with `fallocate`, in a file that is removed at once: the kernel grants
or refuses that as it would the write itself, whatever the kind of quota. File systems that cannot
reserve (NFS before 4.2, some FUSE) leave it at statvfs.
"""

import ctypes
import errno
import logging
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# Refusals that say nothing about space: not supported here, or larger than one file may be.
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EFBIG})
_IN_RUST: Final = re.compile(r"\(os error (\d{1,9})\)")
# RuntimeError: what torch.save leaves behind when a write fails, whatever the cause.
_IN_TORCH: Final = ("inline_container.cc", "PytorchStreamWriter", "basic_ios::clear")


def is_out_of_space(error: BaseException) -> bool:
    """Whether a write failed because the disk or a quota is full.

    A broken stream of torch counts too: it does not say why, and what follows (the torn file is
    removed, the run goes on) is right for other write errors of that kind as well.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    if isinstance(error, RuntimeError):
        return any(mark in text for mark in _IN_TORCH)
    found = _IN_RUST.search(text)
    return found is not None and int(found[1]) in _FULL


@dataclass(slots=True)
class WriteAttempt:
    """How a block of `outlive_full_disk` went."""

    failed: bool = False
    """Whether the disk ended the block."""


@contextmanager
def outlive_full_disk(what: str, log: logging.Logger) -> Iterator[WriteAttempt]:
    """A block that a full disk ends early instead of ending the run; other errors pass.

    with outlive_full_disk("the journal", log) as writing:
        ...
    if writing.failed: ...
    """
    writing = WriteAttempt()
    try:
        yield writing
    except Exception as error:
        if not is_out_of_space(error):
            raise
        writing.failed = True
        # The frames hold what was being written: a removed file takes its space until it is closed.
        traceback.clear_frames(error.__traceback__)
        log.error("DISK FULL while writing %s: %s", what, error)  # noqa: TRY400  nobody's defect


@dataclass(frozen=True, slots=True)
class Room:
    """Whether some bytes fit, and who said so."""

    fits: bool
    free: int
    """Bytes left to this user on the file system, quotas aside."""
    source: Literal["statvfs", "reservation"]


def free_bytes(folder: Path) -> int:
    """What statvfs says is left to an ordinary user, in bytes."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def check_room(folder: Path, size: int) -> Room:
    """Whether `size` more bytes (>= 0) may be written under `folder`, which exists.

    Raises:
        OSError: the folder cannot be written to for another reason than space.
    """
    free = free_bytes(folder)
    if free < size:
        return Room(fits=False, free=free, source="statvfs")
    refusal = _reserve(folder, size) if size else 0
    if refusal in _UNSUPPORTED:
        return Room(fits=True, free=free, source="statvfs")
    if refusal and refusal not in _FULL:
        raise OSError(refusal, os.strerror(refusal))
    return Room(fits=not refusal, free=free, source="reservation")


def _reserve(folder: Path, size: int) -> int:
    """Ask the kernel for `size` bytes (> 0) and give them back; the errno, 0 where granted."""
    # Not os.posix_fallocate: where the file system cannot reserve, libc writes every block.
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return errno.ENOSYS
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".reserve-") as file:
            return 0 if fallocate(file.fileno(), 0, 0, size) == 0 else ctypes.get_errno()
    except OSError as error:
        if error.errno in _FULL:
            return int(error.errno)
        raise
