"""What an HTTP status other than 200 means, and how much of the server's words is repeated."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from citemark_schemas.retry_after import parse_retry_after
from citemark_service.errors import (
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreadable,
)

MESSAGE_LIMIT: Final = 300
"""Characters of a server's message that are kept."""
_ECHO_BLOCK: Final = 12


class _Words(msgspec.Struct):
    message: str = ""


class _OpenAiError(msgspec.Struct):
    error: _Words


class _FlatError(msgspec.Struct):
    """Older vLLM puts the message at the top level."""

    message: str


_SHAPES: Final = (msgspec.json.Decoder(_OpenAiError), msgspec.json.Decoder(_FlatError))


def status_error(
    status: int, body: bytes, *, retry_after: str | None, prompt: Iterable[str]
) -> JudgeError:
    """The error that a reply with `status` != 200 stands for; `prompt` is what was sent."""
    said = _server_message(body, prompt)
    message = f"the judge answered HTTP {status}" + (f": {said}" if said else "")
    if status in (429, 503):
        wait_s = parse_retry_after(retry_after, now=datetime.now(UTC))
        return JudgeOverloaded(message, retry_after_s=wait_s)
    return _error_type(status)(message)


def _error_type(status: int) -> type[JudgeError]:
    if status >= 500:
        return JudgeServerError
    if status == 408:
        return JudgeTimeout
    # A redirect is not followed: the prompt goes nowhere but to the configured server.
    return JudgeRejected if status >= 300 else JudgeUnreadable


def _server_message(body: bytes, prompt: Iterable[str]) -> str:
    for shape in _SHAPES:
        try:
            found = shape.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        words = found.error.message if isinstance(found, _OpenAiError) else found.message
        return quotable(words, prompt)
    return ""


def quotable(words: str, prompt: Iterable[str]) -> str:
    """At most 300 characters of a server's words on one line; empty where they echo the prompt.

    Failures end up in logs and in replies to others than the prompt's author. Every run of 23
    characters that `words` shares with the prompt is caught, as it covers one whole aligned
    block of 12; a chance hit only costs the detail of a message.
    """
    line = " ".join(words[: 2 * MESSAGE_LIMIT].split())
    kept = "".join(filter(str.isprintable, line))[:MESSAGE_LIMIT]
    return "" if any(_echoes(kept, text) for text in prompt) else kept


def _echoes(words: str, text: str) -> bool:
    folded = " ".join(text.split())
    starts = range(0, len(words) - _ECHO_BLOCK + 1, _ECHO_BLOCK)
    return any(words[start : start + _ECHO_BLOCK] in folded for start in starts)
