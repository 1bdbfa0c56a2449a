"""The reply language of the language judge. A `Layout` gives the regular expression, the JSON
schema and the shape shown in the prompt; `replies` validates by it.

A reply is one flat JSON object without free white space. A criterion is `"3":2`, after its quote
`"q3":"…"` where quotes are asked for. A claim is a string of digits, `"2":"2110"`: support, use,
and one contribution for each cited id where there are several. A sentence is `"s1":0`.
Strings, because hosted servers refuse the `prefixItems` that a mixed array would need, and
because brackets and commas would cost more tokens than the verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from citemark_service.judges.chat import Constraint

GRAMMAR_VERSION = "1"

# No escapes: whatever matches is a valid JSON string.
_QUOTE_PATTERN = r'[^"\\\n\r\t]{0,160}'
_QUOTE_TOKENS = 64
_FIELD_SLACK_TOKENS, _REPLY_SLACK_TOKENS = 4, 16  # for white space that some servers add


class Field(NamedTuple):
    """A key of the reply: a verdict, or a quote of at most 160 characters that may be empty."""

    key: str
    regex: str  # of key and value
    schema: Mapping[str, Any]  # of the value
    shape: str  # of key and value, with letters in place of digits
    max_tokens: int  # an upper bound
    tops: tuple[
        int, ...
    ] = ()  # digit i of a verdict is in 0…`tops[i]`, its menu; empty for a quote


def _quote(key: str) -> Field:
    shape, schema = f'"{key}":"Q"', {"type": "string", "pattern": f"^{_QUOTE_PATTERN}$"}
    return Field(key, f'"{key}":"{_QUOTE_PATTERN}"', schema, shape, _QUOTE_TOKENS + len(shape))


def _verdict(key: str, tops: tuple[int, ...], letters: str) -> Field:
    """One digit as a number, or several as a string; `letters` stand for them in the prompt."""
    menu = "".join(f"[0-{top}]" for top in tops)
    schema: dict[str, Any] = {"type": "string", "pattern": f"^{menu}$"}
    mark = '"'
    if len(tops) == 1:
        schema, mark = {"type": "integer", "enum": list(range(tops[0] + 1))}, ""
    shape = f'"{key}":{mark}{letters}{mark}'
    # Its length bounds the tokens, since a token has at least one character.
    return Field(key, f'"{key}":{mark}{menu}{mark}', schema, shape, len(shape), tops)


@dataclass(frozen=True)
class Layout:
    """The fields of one reply, in order."""

    fields: tuple[Field, ...]

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(field.key for field in self.fields)

    @cached_property
    def shape(self) -> str:
        """The reply as the prompt shows it, with letters in place of digits."""
        return "{" + ",".join(field.shape for field in self.fields) + "}"

    @cached_property
    def max_tokens(self) -> int:
        fields = sum(field.max_tokens + _FIELD_SLACK_TOKENS for field in self.fields)
        return fields + _REPLY_SLACK_TOKENS

    @cached_property
    def constraint(self) -> Constraint:
        schema = {
            "type": "object",
            "properties": {field.key: field.schema for field in self.fields},
            "required": [field.key for field in self.fields],
            "additionalProperties": False,
        }
        body = ",".join(field.regex for field in self.fields)
        return Constraint(regex=rf"\{{{body}\}}", json_schema=schema)


@lru_cache
def criteria_layout(count: int, *, quotes: bool) -> Layout:
    """Criteria numbered from 1, each after its quote `q1`, `q2`, … if `quotes` is set."""
    fields = []
    for number in range(1, count + 1):
        if quotes:
            fields.append(_quote(f"q{number}"))
        fields.append(_verdict(str(number), (2,), "V"))
    return Layout(tuple(fields))


@lru_cache
def citation_layout(ids_per_claim: tuple[int, ...], sentences: int) -> Layout:
    """Claims numbered from 1, given the number of ids of each, then sentences `s1`, `s2`, …"""
    fields = []
    for number, ids in enumerate(ids_per_claim, start=1):
        contributions = ids if ids > 1 else 0  # a single id contributes all
        tops = (2, 1, *(1,) * contributions)
        fields.append(_verdict(str(number), tops, "SU" + "C" * contributions))
    facts = (_verdict(f"s{number}", (1,), "F") for number in range(1, sentences + 1))
    return Layout((*fields, *facts))
