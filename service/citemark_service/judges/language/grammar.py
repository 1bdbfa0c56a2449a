"""The reply language of the language judge. A `Layout` gives the regular expression, the JSON
schema and the shape shown in the prompt; `replies` validates by it.

A reply is one flat JSON object without free white space. A criterion is `"3":2`, after its quote
`"q3":"…"` where quotes are asked for. A claim is a string of digits, `"2":"2110"`: support, use,
and one contribution for each cited id where there are several. A sentence is `"s1":0`.
Strings, because hosted servers refuse the `prefixItems` that a mixed array would need, and
because brackets and commas would cost more tokens than the verdicts.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from citemark_service.judges.chat import Constraint

GRAMMAR_VERSION = "1"

# No escapes: whatever matches is a valid JSON string.
_QUOTE_PATTERN = r'[^"\\\n\r\t]{0,160}'
_QUOTE_TOKENS = 64
_FIELD_SLACK_TOKENS, _REPLY_SLACK_TOKENS = 4, 16  # for white space that some servers add


@dataclass(frozen=True, slots=True)
class Quote:
    """A string of at most 160 characters; empty where there is nothing to quote."""

    key: str

    @property
    def regex(self) -> str:
        return f'"{self.key}":"{_QUOTE_PATTERN}"'

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_QUOTE_PATTERN}$"}

    @property
    def shape(self) -> str:
        return f'"{self.key}":"Q"'

    @property
    def max_tokens(self) -> int:
        return _QUOTE_TOKENS + len(self.shape)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One digit as a number, or several as a string. Digit i is in 0…`tops[i]`, its menu."""

    key: str
    tops: tuple[int, ...]
    letters: str  # the placeholders of the digits in the prompt

    @property
    def packed(self) -> bool:
        return len(self.tops) > 1

    def _enclose(self, value: str) -> str:
        return f'"{value}"' if self.packed else value

    @property
    def _menu(self) -> str:
        return "".join(f"[0-{top}]" for top in self.tops)

    @property
    def regex(self) -> str:
        return f'"{self.key}":{self._enclose(self._menu)}'

    @property
    def schema(self) -> dict[str, Any]:
        if self.packed:
            return {"type": "string", "pattern": f"^{self._menu}$"}
        return {"type": "integer", "enum": list(range(self.tops[0] + 1))}

    @property
    def shape(self) -> str:
        return f'"{self.key}":{self._enclose(self.letters)}'

    @property
    def max_tokens(self) -> int:
        return len(self.shape)  # a token has at least one character


@dataclass(frozen=True)
class Layout:
    """The fields of one reply, in order.

    A field has a `regex` of key and value, the JSON `schema` of the value, a `shape` for the
    prompt, and `max_tokens` as an upper bound.
    """

    fields: tuple[Quote | Verdict, ...]

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
    fields: list[Quote | Verdict] = []
    for number in range(1, count + 1):
        if quotes:
            fields.append(Quote(f"q{number}"))
        fields.append(Verdict(str(number), (2,), "V"))
    return Layout(tuple(fields))


@lru_cache
def citation_layout(ids_per_claim: tuple[int, ...], sentences: int) -> Layout:
    """Claims numbered from 1, given the number of ids of each, then sentences `s1`, `s2`, …"""
    fields = []
    for number, ids in enumerate(ids_per_claim, start=1):
        contributions = ids if ids > 1 else 0  # a single id contributes all
        tops = (2, 1, *(1,) * contributions)
        fields.append(Verdict(str(number), tops, "SU" + "C" * contributions))
    facts = (Verdict(f"s{number}", (1,), "F") for number in range(1, sentences + 1))
    return Layout((*fields, *facts))
