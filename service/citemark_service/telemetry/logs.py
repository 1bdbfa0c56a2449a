"""The process's log: one line a record, as text or JSON, whatever text the record quotes.

Only tracebacks in the text format have lines of their own.
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
# These write one line for each event by design.
_UNTHROTTLED: Final = frozenset({"citemark.access", "citemark.rollouts"})
_KEYS_KEPT: Final = 1_024  # kinds of record that a `Throttle` remembers
_PLAIN: Final = re.compile(r"[\x21\x23-\x7e]+")  # no blank, no quotation mark
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# Left in by `printable`, and taken for the end of a line or field by readers.
_BREAKS: Final = str.maketrans({"\n": "\\n", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"})

_CONTEXT: Final[ContextVar[Mapping[str, str | int]]] = ContextVar(
    "citemark.log_context", default=MappingProxyType({})
)


def get_log_context() -> Mapping[str, str | int]:
    """`request`, `trace`, `rollout`, `ask` and `attempt` of this task, where known."""
    return _CONTEXT.get()


def set_log_context(**fields: str | int) -> None:
    """Replace the context for the rest of this task and for the tasks that it starts."""
    # Not reset: a server logs a task's failure after the task's own code has ended.
    _CONTEXT.set(fields)


@contextmanager
def log_context(**fields: str | int) -> Iterator[None]:
    """Add fields to the context inside the block."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def log_fields(**fields: str | int | float | bool | None) -> dict[str, LogFields]:
    """A record's `extra`: fields of the JSON line. The message has to hold their text too."""
    return {"fields": fields}


class TextLines(logging.Formatter):
    """Time, level, logger, message, then those context fields that the record does not set."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's
        own = _fields_of(record)
        line = printable(super().formatMessage(record)).translate(_BREAKS)
        for key, value in _CONTEXT.get().items():
            if key not in own:
                text = str(value)
                # Quoted, so that a value cannot pose as another field.
                if not _PLAIN.fullmatch(text):
                    text = json.dumps(_replace_surrogates(text))
                line += f" {key}={text}"
        return line

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's
        return printable(super().formatException(ei))


class JsonLines(logging.Formatter):
    """An object with time, level, logger and message, and every field under its own name."""

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
        # ASCII, by default: U+2028 and the like would break the line.
        return json.dumps(legible, default=str)


class Throttle(logging.Filter):
    """Passes at most `burst` records of a kind in each window of `every_s` seconds.

    A kind is logger, level, unformatted message, and the fields `server` and `kind`. The next
    record that passes has the number of those held back in its message.
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
            # A flood of kinds ends the window early instead of filling the memory.
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
    """Logs once when something fails, and once when it works again."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self.active = False
        self._log = log
        self._level = level

    def begin(self, message: str, *args: object) -> None:
        """Note a failure; `message` is logged only where it worked before."""
        if not self.active:
            self._log.log(self._level, message, *args)
        self.active = True

    def end(self, message: str, *args: object) -> None:
        """Note a success; `message` is logged only where it failed before."""
        if self.active:
            self._log.info(message, *args)
        self.active = False


def start_log(settings: Settings) -> None:
    """Log to standard error, unless the root logger has handlers already."""
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
    """`value` without lone surrogates, which many JSON readers refuse."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value
