"""A dead judge, or a client that sends rubbish, may not fill the disk with one and the same line.

Counted by wording, in the handler, so that no code that logs has to know.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from citemark_service.telemetry.lines import facts_of

_KINDS_KEPT: Final = 1_024
_DISTINCT: Final = ("server", "kind")
"""Facts that make two lines of one wording different news."""


@dataclass(slots=True)
class _Count:
    until: float
    passed: int = 0
    held: int = 0


class Throttle(logging.Filter):
    """Passes `burst` records of one wording in `every_s` seconds; the next one says how many more
    there were. The loggers in `exempt` are never held back.
    """

    def __init__(
        self,
        *,
        burst: int = 20,
        every_s: float = 10.0,
        exempt: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._burst = burst
        self._every_s = every_s
        self._exempt = exempt
        self._clock = clock
        self._counts: OrderedDict[object, _Count] = OrderedDict()
        self._lock = threading.Lock()  # a handler filters before it takes its own

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; a record that follows held ones is given their number."""
        if record.name in self._exempt:
            return True
        with self._lock:
            held = self._counted(_kind(record))
        if held:
            record.msg = f"{record.msg} (and {held} more such lines before)"
        return held is not None

    def _counted(self, kind: object) -> int | None:
        """How many were held back before this one; None where it is held back as well."""
        now = self._clock()
        count = self._counts.get(kind)
        held = 0
        if count is None or now >= count.until:
            held = 0 if count is None else count.held
            count = self._counts[kind] = _Count(now + self._every_s)
            self._counts.move_to_end(kind)
            if len(self._counts) > _KINDS_KEPT:
                self._counts.popitem(last=False)
        if count.passed >= self._burst:
            count.held += 1
            return None
        count.passed += 1
        return held


def _kind(record: logging.LogRecord) -> object:
    facts = facts_of(record)
    wording = str(record.msg)  # other people's code logs dictionaries, too
    return (record.name, record.levelno, wording, *(facts.get(name) for name in _DISTINCT))
