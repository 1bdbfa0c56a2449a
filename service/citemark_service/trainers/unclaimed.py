"""Answers whose client left before they were there, for the next who asks for the same.

Trainers give up after a time of their own and post the same bytes again. The judging goes on
meanwhile, and its answer is kept until it is asked for, so that no re-post is judged anew,
whatever the verdict cache keeps.
"""

import asyncio
import logging
from collections import OrderedDict

from citemark_service.errors import RequestError
from citemark_service.trainers.engine import RouteAnswer

_log = logging.getLogger("citemark.dialects")

Work = asyncio.Task[RouteAnswer]


class Unclaimed:
    """Bounded by number and by bytes; the oldest goes first. Used within one event loop."""

    def __init__(self, *, entries: int = 4096, max_bytes: int = 32 * 1024 * 1024) -> None:
        self._entries = entries
        self._max_bytes = max_bytes
        self._work: OrderedDict[bytes, Work] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._work)

    def leave(self, key: bytes, work: Work) -> None:
        """Keep this until it is claimed, unless what comes of it is a failure."""
        self.claim(key)
        self._work[key] = work
        work.add_done_callback(lambda _: self._land(key, work))  # soon, where it is over already
        self._shrink()

    def claim(self, key: bytes) -> Work | None:
        """Take out what was left under this key; it may still be going on."""
        self._bytes -= self._sizes.pop(key, 0)
        return self._work.pop(key, None)

    def _land(self, key: bytes, work: Work) -> None:
        error = None if work.cancelled() else work.exception()
        if error is not None and not isinstance(error, RequestError):
            # A failure that nobody waits for is no news, a defect is.
            _log.error("an answer that nobody waited for broke", exc_info=error)
        if self._work.get(key) is not work:
            return
        if work.cancelled() or error is not None or not work.result().whole:
            del self._work[key]
            return
        self._sizes[key] = len(work.result().body)
        self._bytes += self._sizes[key]
        self._shrink()

    def _shrink(self) -> None:
        while self._work and (len(self._work) > self._entries or self._bytes > self._max_bytes):
            self.claim(next(iter(self._work)))
