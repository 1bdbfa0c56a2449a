"""Full disks: recognise one, survive one, and check beforehand what fits.

Python raises `OSError` with an errno. The Rust libraries put it into their text (safetensors:
`SafetensorError`; tokenizers: a bare `Exception`). torch's zip writer gives no errno at all.

statvfs does not know the quotas of users, groups and projects. So the space is also reserved with
`fallocate`, in a file that is removed at once, which the kernel grants or refuses like the write
itself. File systems that cannot reserve (NFS before 4.2, some FUSE) leave it at statvfs.
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
# In the RuntimeError of torch.save when a write fails, whatever the cause.
_IN_TORCH: Final = ("inline_container.cc", "PytorchStreamWriter", "basic_ios::clear")


def is_out_of_space(error: BaseException) -> bool:
    """Whether a write failed because the disk or a quota is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    text = str(error)
    if isinstance(error, RuntimeError):
        # torch does not say why its stream broke. Removing the torn file and going on is right for
        # other write errors too.
        return any(mark in text for mark in _IN_TORCH)
    found = _IN_RUST.search(text)
    return found is not None and int(found[1]) in _FULL


@dataclass(slots=True)
class WriteAttempt:
    failed: bool = False
    """Whether a full disk ended the block of `outlive_full_disk`."""


@contextmanager
def outlive_full_disk(what: str, log: logging.Logger) -> Iterator[WriteAttempt]:
    """Suppress errors of a full disk, which end the block early; other errors are raised.

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
        # The frames hold open files, and a removed file takes its space until it is closed.
        traceback.clear_frames(error.__traceback__)
        log.error("DISK FULL while writing %s: %s", what, error)  # noqa: TRY400  nobody's defect


@dataclass(frozen=True, slots=True)
class Room:
    fits: bool
    free: int
    """Bytes left to this user on the file system, quotas aside."""
    source: Literal["statvfs", "reservation"]  # which of them decided


def free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    # f_bavail, not f_bfree: without the blocks that are reserved for root.
    return found.f_bavail * found.f_frsize


def check_room(folder: Path, size: int) -> Room:
    """Whether `size` more bytes (>= 0) fit under `folder`, which exists.

    Raises `OSError` where it cannot be written to for another reason than space.
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
    """Reserve `size` bytes (> 0) and release them; returns the errno, 0 where granted."""
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
