"""The header Retry-After (RFC 9110, section 10.2.3), as servers and proxies really write it."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds >= 0 to wait from `now` (aware), or None where `value` is not readable.

    Never raises. A date is rounded up to whole seconds; one in the past is 0. The result may be
    thousands of years: the caller bounds what it waits for.
    """
    if value is None:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
        # RFC 9110 knows only GMT; the parser gives a naive date for "-0000" and unknown zones.
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return float(max(0, math.ceil(seconds.total_seconds())))
