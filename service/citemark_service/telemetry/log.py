"""The process's log, as the settings want it."""

import logging
from collections.abc import Mapping
from typing import Final

from citemark_service.settings import Settings
from citemark_service.telemetry.lines import JsonLines, TextLines
from citemark_service.telemetry.throttle import Throttle

_LEVELS: Final[Mapping[str, int]] = {
    "uvicorn.error": logging.WARNING,
    "httpx": logging.WARNING,
    "alembic": logging.WARNING,  # it tells of each look at a ledger's tables
    "opentelemetry.trace": logging.ERROR,  # it quotes the headers of callers that err
}
_WHOLE: Final = frozenset({"citemark.access", "citemark.rollouts"})
"""Logs that have a line for each event, by their purpose."""


def log_handler(settings: Settings) -> logging.Handler:
    """A handler that writes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    handler.addFilter(Throttle(exempt=_WHOLE))
    return handler


def start_log(settings: Settings) -> None:
    """Log to standard error, unless the process's log has been set up already."""
    logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler(settings)])
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
