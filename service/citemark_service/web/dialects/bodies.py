"""A trainer's body as a JSON object, and the size of what is judged of it. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from citemark_schemas import Rollout
from citemark_schemas.cells import TooDeep, plain
from citemark_service.errors import InvalidRequest
from citemark_service.web.dialects.dialect import misshapen


def decoded(body: bytes) -> Mapping[str, Any]:
    """The object that a body is.

    Python's clients write NaN for an empty cell of a table, and half a surrogate pair for a
    broken character, neither of which JSON has: they become null and U+FFFD.

    Raises:
        InvalidRequest: it is no object, or no JSON.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _lenient(body)
    except RecursionError as error:
        raise _nested() from error
    if not isinstance(value, dict):
        raise misshapen("body", "must be an object")
    return value


def _lenient(body: bytes) -> Any:
    try:
        return plain(json.loads(body))
    except (RecursionError, TooDeep) as error:
        raise _nested() from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise misshapen("body", f"is not JSON: {error}") from error


def _nested() -> InvalidRequest:
    return misshapen("body", "is nested too deeply")


def characters(rollout: Rollout) -> int:
    """The length of all that is parsed and judged."""
    snippets = sum(len(snippet.text) for snippet in rollout.snippets or ())
    criteria = sum(len(criterion.description) for criterion in rollout.criteria)
    whole = len(rollout.question) + len(rollout.response) + len(rollout.tool_output or "")
    return whole + snippets + criteria
