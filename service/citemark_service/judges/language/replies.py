"""Reading a reply: every verdict that was asked for, once and on its menu, or a typed error.

Nothing is repaired and nothing is assumed: a verdict that is not there is not "absent", because
for a negative criterion that would be full credit. Messages name keys that were asked for,
never text of the reply.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from citemark_service.errors import InvalidVerdict, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import ChatReply
from citemark_service.judges.language.expectation import TokenMap, expected_score
from citemark_service.judges.language.grammar import Layout, Quote, Verdict

_STRING = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf"\s*({_STRING})\s*:\s*({_STRING}|-?\d+)\s*[,}}]")


@dataclass(frozen=True, slots=True)
class Reading:
    """A valid reply, by key."""

    digits: Mapping[str, tuple[int, ...]]
    """The verdicts as written."""
    scores: Mapping[str, tuple[float, ...]]
    """The same, each in [0, 1], weighted by probability where the server gave it."""
    quotes: Mapping[str, str]


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object with its repetitions; a JSON array is a list."""

    __slots__ = ()


def read(reply: ChatReply, layout: Layout) -> Reading:
    """Validate `reply` against `layout`.

    Raises:
        JudgeTruncated: the reply ended for length.
        JudgeUnreadable: it is empty, not JSON, another shape, or did not end by itself.
        InvalidVerdict: a verdict is missing, repeated or off its menu.
    """
    values = _values(_decoded(reply), layout)
    verdicts = [field for field in layout.fields if isinstance(field, Verdict)]
    digits = {field.key: _digits(field, values[field.key]) for field in verdicts}
    places = _places(reply.content)
    tokens = TokenMap.over(reply.content, reply.tokens)
    return Reading(
        digits=digits,
        scores={f.key: _scores(f, digits[f.key], tokens, places.get(f.key)) for f in verdicts},
        quotes={f.key: _quote(f, values[f.key]) for f in layout.fields if isinstance(f, Quote)},
    )


def _decoded(reply: ChatReply) -> _Pairs:
    if reply.finish_reason == "length":
        raise JudgeTruncated("the reply ended for length")
    if reply.finish_reason not in (None, "stop"):
        raise JudgeUnreadable("the reply did not end by itself")
    if not reply.content.strip():
        raise JudgeUnreadable("the reply is empty")
    try:
        decoded = json.loads(reply.content, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise JudgeUnreadable("the reply is not JSON") from error
    if not isinstance(decoded, _Pairs):
        raise JudgeUnreadable("the reply is not a JSON object")
    return decoded


def _values(pairs: _Pairs, layout: Layout) -> dict[str, Any]:
    """The object as a mapping that has exactly the keys of `layout`."""
    values = dict(pairs)
    if extra := len(values.keys() - layout.keys):
        raise JudgeUnreadable(f"the reply has {extra} keys that were not asked for")
    if len(values) < len(pairs):
        raise InvalidVerdict(f"the reply gives {_repeated(pairs)} more than once")
    if missing := [field.key for field in layout.fields if field.key not in values]:
        raise InvalidVerdict(f"the reply lacks {', '.join(missing)}")
    return values


def _repeated(pairs: _Pairs) -> str:
    counts = Counter(key for key, _ in pairs)
    return next(key for key, count in counts.items() if count > 1)


def _digits(field: Verdict, value: object) -> tuple[int, ...]:
    written = value if field.packed else _written(value)
    if not isinstance(written, str) or not _on_menu(written, field.tops):
        raise InvalidVerdict(f"verdict {field.key} is not on its menu")
    return tuple(map(int, written))


def _on_menu(written: str, tops: tuple[int, ...]) -> bool:
    # One comparison for each digit, where a pattern would be looked up for each verdict.
    pairs = zip(written, tops, strict=False)
    return len(written) == len(tops) and all("0" <= digit <= str(top) for digit, top in pairs)


def _written(value: object) -> str | None:
    # type() and not isinstance(): true is an int to Python, and 1.0 equals 1.
    return str(value) if type(value) is int and 0 <= value <= 9 else None


def _quote(field: Quote, value: object) -> str:
    if not isinstance(value, str):
        raise JudgeUnreadable(f"quote {field.key} is not a string")
    return value.strip()


def _places(content: str) -> dict[str, int]:
    """Where each value's first digit stands in a flat JSON object whose keys escape nothing."""
    places: dict[str, int] = {}
    position = content.find("{") + 1
    while match := _PAIR.match(content, position):
        places[match[1][1:-1]] = match.start(2) + match[2].startswith('"')
        position = match.end()
    return places


def _scores(
    field: Verdict, digits: tuple[int, ...], tokens: TokenMap | None, place: int | None
) -> tuple[float, ...]:
    return tuple(
        expected_score(digit, top, tokens, None if place is None else place + index)
        for index, (digit, top) in enumerate(zip(digits, field.tops, strict=True))
    )
