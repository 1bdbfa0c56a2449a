"""Pydantic's errors as places and messages, without the input that they quote. Pure."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from citemark_schemas.score import ProblemDetail
from citemark_schemas.transcript import question_in

LONGEST_KEY: Final = 80  # characters of a caller's key in a path
_LONGEST: Final = 300
_MOST_ERRORS: Final = 1000
_NEAR: Final = 0.8
_TEXT: Final = "must be text"
_LIST: Final = "must be a list"
_OBJECT: Final = "must be an object"
_WHOLE: Final = "must be a whole number"
_SAID: Final = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "string_type": _TEXT,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}
"""What pydantic's errors of these types mean to who wrote the row."""
_LEAD_IN: Final = re.compile(r"^(?:Value error, |(?:Input|String|Value|List|Tuple) should )")
_QUOTED: Final = 80  # characters of a question in a message
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
        error = error.errors(include_url=False, include_context=False)
    details = []
    for each in error:
        loc, message = each["loc"], _say(each)
        if each["type"] == "extra_forbidden":
            key = str(loc[-1])[:LONGEST_KEY].casefold()
            near = difflib.get_close_matches(key, names if len(loc) == 1 else (), 1, _NEAR)
            message = f"is unknown; did you mean {near[0]!r}?" if near else message
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


def _say(error: Mapping[str, Any]) -> str:
    """The message of an error in plain words; it quotes of the input a chat's question alone."""
    held = error.get("input")
    if error["type"] == "string_type" and isinstance(held, list) and (asked := question_in(held)):
        told = f"looks like chat messages: the question is {clip(asked, _QUOTED)!r}"
        return f"{told}; give them as 'messages'"
    message: str = error["msg"]
    lead_in = _LEAD_IN.match(message)
    plain = message if lead_in is None else message[lead_in.end() :]
    if lead_in is not None and lead_in[0].endswith("should "):
        plain = f"must {plain}"
    return _SAID.get(error["type"], plain)


def to_detail(loc: str, message: str) -> ProblemDetail:
    return ProblemDetail(loc=loc, message=clip(message, _LONGEST))


def clip(text: str, limit: int) -> str:
    """`text`, of which an ellipsis ends what is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
