"""Which errors say that a file system is full, and a block that outlives them.

Python raises `OSError` with an errno. The Rust libraries put it into their text (safetensors:
`SafetensorError`; tokenizers: a bare `Exception`), and torch's zip writer gives no errno at all,
only that its stream broke.
"""

import errno
import logging
import re
import traceback
from types import TracebackType
from typing import Final, Self

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No space left, and a quota that is used up."""

_IN_RUST: Final = re.compile(r"\(os error (\d{1,9})\)")
# RuntimeError: what torch.save leaves behind when a write fails, whatever the cause.
_IN_TORCH: Final = ("inline_container.cc", "PytorchStreamWriter", "basic_ios::clear")


def out_of_space(error: BaseException) -> bool:
    """Whether a write failed because nothing more fits.

    A broken stream of torch counts too: it does not say why, and what follows (the torn file is
    removed, the run goes on) is right for other write errors of that kind as well.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    text = str(error)
    if isinstance(error, RuntimeError):
        return any(mark in text for mark in _IN_TORCH)
    found = _IN_RUST.search(text)
    return found is not None and int(found[1]) in FULL


class Outlived:
    """A block that a full disk ends early instead of ending the run; other errors pass.

    with Outlived("the journal", log) as writing:
        ...
    if writing.failed: ...
    """

    def __init__(self, what: str, log: logging.Logger) -> None:
        self._what = what
        self._log = log
        self.failed = False
        """Whether the disk ended the block."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or not out_of_space(error):
            return False
        self.failed = True
        # The frames hold what was being written: a removed file takes its space until it is closed.
        traceback.clear_frames(trace)
        self._log.error("DISK FULL while writing %s: %s", self._what, error)
        return True
