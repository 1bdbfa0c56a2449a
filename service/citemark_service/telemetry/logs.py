"""The process's log: one record a line, as text or as JSON, with the request it belongs to.

A record is one line whatever a caller, a policy or a server wrote; only the traceback of a defect
has lines of its own, and only in the text format.
"""

import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from citemark_service.printable import printable
from citemark_service.settings import Settings

LogFields = Mapping[str, str | int | float | bool | None]

_LEVELS: Final[Mapping[str, int]] = {
    "uvicorn.error": logging.WARNING,
    "httpx": logging.WARNING,
    "alembic": logging.WARNING,  # it logs each look at a ledger's tables
    "opentelemetry.trace": logging.ERROR,  # it quotes the headers of callers that err
}
_UNTHROTTLED: Final = frozenset({"citemark.access", "citemark.rollouts"})
"""Loggers that write a line for each event, by their purpose."""
_KEYS_KEPT: Final = 1_024
_PLAIN: Final = re.compile(r"[\x21\x23-\x7e]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BREAKS: Final = str.maketrans({"\n": "\\n", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"})

_CONTEXT: Final[ContextVar[Mapping[str, str | int]]] = ContextVar(
    "citemark.log_context", default=MappingProxyType({})
)


def get_log_context() -> Mapping[str, str | int]:
    """`request`, `trace`, `rollout`, `ask` and `attempt` of this task, as far as they are known."""
    return _CONTEXT.get()


def set_log_context(**fields: str | int) -> None:
    """Replace the context for the rest of the task, what a server logs after its code has failed
    included, and for the tasks that it starts."""
    _CONTEXT.set(fields)


@contextmanager
def log_context(**fields: str | int) -> Iterator[None]:
    """Add fields to the context for the duration of a block."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def log_fields(**fields: str | int | float | bool | None) -> dict[str, LogFields]:
    """The `extra` of a record: fields of the JSON line, whose text the message holds already."""
    return {"fields": fields}


class TextLines(logging.Formatter):
    """Time, level, logger and message, then the context's fields that the record has not."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's
        own = _fields_of(record)
        line = printable(super().formatMessage(record)).translate(_BREAKS)
        for key, value in _CONTEXT.get().items():
            if key not in own:
                text = str(value)
                if not _PLAIN.fullmatch(text):  # quoted, so that it ends where it seems to
                    text = json.dumps(_replace_surrogates(text))
                line += f" {key}={text}"
        return line

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's
        return printable(super().formatException(ei))


class JsonLines(logging.Formatter):
    """An object with time, level, logger and message, and every field under its own name.

    It is ASCII, so that no separator of another alphabet breaks the line.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            **_CONTEXT.get(),
            **_fields_of(record),
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        legible = {key: _replace_surrogates(value) for key, value in line.items()}
        return json.dumps(legible, default=str)


class Throttle(logging.Filter):
    """Passes `burst` records of one wording in each window of `every_s` seconds.

    The first that passes after some were held back has their number in its message. Records are
    told apart by logger, level, wording, and the fields `server` and `kind`.
    """

    def __init__(
        self, *, burst: int = 20, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        self._window_ends = 0.0
        self._passed: Counter[Hashable] = Counter()
        self._held: Counter[Hashable] = Counter()
        self._lock = threading.Lock()  # a handler filters before it takes its own

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in _UNTHROTTLED:
            return True
        fields = _fields_of(record)
        wording = str(record.msg)  # libraries log dictionaries, too
        key = (record.name, record.levelno, wording, fields.get("server"), fields.get("kind"))
        with self._lock:
            now = self._clock()
            if now >= self._window_ends or len(self._passed) >= _KEYS_KEPT:
                self._window_ends = now + self._every_s
                self._passed.clear()
            if len(self._held) >= _KEYS_KEPT:
                self._held.clear()
            if self._passed[key] >= self._burst:
                self._held[key] += 1
                return False
            self._passed[key] += 1
            held = self._held.pop(key, 0)
        if held:
            record.msg = f"{record.msg} (and {held} more such lines before)"
        return True


class Outage:
    """Something that works or does not: logged once when it fails and once when it works again."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self.active = False
        self._log = log
        self._level = level

    def begin(self, message: str, *args: object) -> None:
        """It failed; `message` is logged where it had worked before."""
        if not self.active:
            self._log.log(self._level, message, *args)
        self.active = True

    def end(self, message: str, *args: object) -> None:
        """It worked; `message` is logged where it had failed before."""
        if self.active:
            self._log.info(message, *args)
        self.active = False


def start_log(settings: Settings) -> None:
    """Log to standard error, unless the process's log has been set up already."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    handler.addFilter(Throttle())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


def _fields_of(record: logging.LogRecord) -> LogFields:
    fields: LogFields = getattr(record, "fields", {})
    return fields


def _replace_surrogates(value: object) -> object:
    """Half of a surrogate pair is JSON that half of the readers refuse."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value
