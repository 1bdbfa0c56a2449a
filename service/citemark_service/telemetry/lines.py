"""A record of the log as one line of text, or as one JSON object on a line.

Either is one line whatever a caller, a policy or a server wrote, except for the traceback of a
defect, which in text has its own lines.
"""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from citemark_service.printable import printable
from citemark_service.telemetry.trail import trail

Facts = Mapping[str, str | int | float | bool | None]

_PLAIN: Final = re.compile(r"[\x21\x23-\x7e]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BREAKS: Final = str.maketrans({"\n": "\\n", "\t": "\\t", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def told(facts: Facts) -> dict[str, Facts]:
    """The `extra` of a record whose message says these facts in words already."""
    return {"facts": facts}


def facts_of(record: logging.LogRecord) -> Facts:
    """What the record was given by `told`."""
    facts: Facts = getattr(record, "facts", {})
    return facts


class TextLines(logging.Formatter):
    """Time, level, logger, message, and whose it is."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's
        """The line, without a traceback."""
        said = facts_of(record)
        whose = [f"{name}={_word(fact)}" for name, fact in trail().items() if name not in said]
        line = printable(super().formatMessage(record)).translate(_BREAKS)
        return " ".join([line, *whose])

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's
        """The traceback, with nothing in it that could steer a terminal."""
        return printable(super().formatException(ei))


class JsonLines(logging.Formatter):
    """An object with time, level, logger, message, and every fact under its own name."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; ASCII, so that no separator of another alphabet breaks it."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            **trail(),
            **facts_of(record),
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: _sound(fact) for name, fact in line.items()}, default=str)


def _word(fact: str | int) -> str:
    """A fact that ends where it seems to end."""
    text = str(fact)
    return text if _PLAIN.fullmatch(text) else json.dumps(_sound(text))


def _sound(fact: object) -> object:
    """Half of a surrogate pair is JSON that half of the readers refuse."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", fact) if isinstance(fact, str) else fact
