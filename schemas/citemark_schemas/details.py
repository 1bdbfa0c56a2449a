"""Pydantic's errors as places and messages, without the input that they quote. Pure."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from citemark_schemas.score import ProblemDetail

LONGEST_KEY: Final = 80  # characters of a caller's key in a path
_LONGEST: Final = 300
_MOST_ERRORS: Final = 1000
_NEAR: Final = 0.8
# The schemas of rubrics name an item in the message, where pydantic cannot.
_ITEM: Final = re.compile(r"item (\d+): ")


def to_details(
    error: ValidationError | Sequence[Any],
    prefix: str = "",
    *,
    root: str = "body",
    places: Mapping[str, str] = {},
    names: Collection[str] = (),
) -> tuple[ProblemDetail, ...]:
    """Each error with its path, as `items[3].snippets[0].id`, below `prefix`.

    Args:
        error: or what its `errors` returns.
        root: the path where prefix and location are empty.
        places: paths of top-level fields that stand elsewhere.
        names: top-level fields, of which the message on an unknown one names the nearest.
    """
    if isinstance(error, ValidationError):
        count = error.error_count()
        if count > _MOST_ERRORS:  # listing a hostile million would take seconds
            return (to_detail(prefix or root, f"has {count} errors, too many to list"),)
        error = error.errors(include_url=False, include_input=False, include_context=False)
    details = []
    for each in error:
        loc, message = each["loc"], each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            key = str(loc[-1])[:LONGEST_KEY].casefold()
            near = difflib.get_close_matches(key, names if len(loc) == 1 else (), 1, _NEAR)
            message = f"is unknown; did you mean {near[0]!r}?" if near else "is unknown"
        if item := _ITEM.match(message):
            loc, message = (*loc, int(item[1])), message[item.end() :]
        path = prefix
        for at, part in enumerate(loc):
            if isinstance(part, int):
                path += f"[{part}]"
            elif at == 0 and part in places:
                path = places[part]
            else:
                path += ("." if path else "") + clip(part, LONGEST_KEY)
        details.append(to_detail(path or root, message))
    return tuple(details)


def to_detail(loc: str, message: str) -> ProblemDetail:
    return ProblemDetail(loc=loc, message=clip(message, _LONGEST))


def clip(text: str, limit: int) -> str:
    """`text`, of which an ellipsis ends what is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
