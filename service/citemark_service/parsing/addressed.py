"""Finds answer text that addresses a grader. For review only: it never changes a score."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from citemark_service.parsing.visible import fold_space, visible

_PIECE_CHARS = 200
_PIECES = 8

_GRADER = r"(?:graders?|judges?|evaluators?|raters?|scorers?|assessors?|verifiers?|reward\s+model)"
# Non-ASCII letters that match an ASCII one under re.IGNORECASE but that `lower` does not map to it.
_ALIKE = str.maketrans({"İ": "i", "ı": "i", "ſ": "s"})


@dataclass(frozen=True, slots=True)
class _Address:
    """A pattern, and words to rule it out: searching those is ten times as fast as matching."""

    pattern: re.Pattern[str]
    needs: tuple[tuple[str, ...], ...]
    """Every text that matches contains at least one word of each group, in lower case."""

    def possible(self, lowered: str) -> bool:
        """Whether a lower-cased text could match."""
        return all(any(word in lowered for word in group) for group in self.needs)


def _address(pattern: str, *needs: tuple[str, ...]) -> _Address:
    return _Address(re.compile(pattern, re.IGNORECASE), needs)


# Every repetition is possessive or bounded, so that no text causes long backtracking.
_ADDRESSES = (
    _address(
        rf"\b(?:notes?|messages?|memo|instructions?|reminder|attention|hints?)\s++(?:to|for)\s++"
        rf"(?:(?:the|any|all|our|whichever|llm|ai)\s++){{0,3}}{_GRADER}\b"
        rf"|\b(?:dear|hey|hello|attention)[\s,:]++(?:(?:the|llm|ai)\s++){{0,2}}{_GRADER}\b"
        rf"|\b(?:you\s++are|act\s++as)\s++(?:an?|the|my|now)\s++(?:\w++\s++){{0,2}}?{_GRADER}\b",
        ("grader", "judge", "evaluator", "rater", "scorer", "assessor", "verifier", "reward"),
    ),
    _address(
        r"\b(?:return|output|reply|respond|answer|print|emit|say|mark)\s++"
        r"(?:(?:with|only|it|this|them|all|every|each|claims?|as|the|verdict)\s++){0,4}"
        r"[\"'“]?(?:fully[\s_]++)?supported\b",
        ("supported",),
    ),
    _address(
        r"\bscores?\s++(?:of\s++)?(?:1(?:\.0)?|2|5|10|100)\s++(?:for|to|on)\s++(?:all|every|each)\b",
        ("score",),
        ("all", "every", "each"),
    ),
    _address(
        r"\b(?:give|award|assign|grant)\s++(?:\w++\s++){0,4}?"
        r"(?:full|maximum|max|perfect|top|highest)\s++(?:marks?|scores?|points|credit|rating)\b",
        ("give", "award", "assign", "grant"),
        ("mark", "score", "points", "credit", "rating"),
    ),
    _address(
        r"\b(?:ignore|disregard|forget|override)\s++(?:\w++\s++){0,3}?"
        r"(?:previous|prior|above|earlier|preceding|these|your)\s++(?:\w++\s++){0,2}?"
        r"(?:instructions?|prompts?|rules|rubrics?|criteria|guidelines)\b",
        ("ignore", "disregard", "forget", "override"),
    ),
    _address(
        r"\b(?:all|every|each)\s++(?:of\s++the\s++)?(?:claims?|citations?|statements?)\s++"
        r"(?:above\s++|here\s++|below\s++)?(?:was|were|is|are|has\s++been|have\s++been)\s++"
        r"(?:\w++\s++)?(?:verified|supported|checked|validated)\b",
        ("claim", "citation", "statement"),
        ("verified", "supported", "checked", "validated"),
    ),
    _address(
        r"\bthis\s++(?:answer|response)\s++(?:deserves|merits|should\s++(?:receive|get|be\s++(?:scored"
        r"|graded|rated))|must\s++(?:receive|get|be\s++(?:scored|graded|rated)))\b",
        ("answer", "response"),
        ("deserves", "merits", "should", "must"),
    ),
    _address(
        r"[\"'](?:verdicts?|support(?:ed)?|substantive|contributing|factual|raw_score|reward)"
        r"[\"']\s*+:",
        ("'", '"'),
        ("verdict", "support", "substantive", "contributing", "factual", "raw_score", "reward"),
    ),
    _address(
        r"</?(?:claims?|snippet_text|verdicts?|criteri(?:on|a)|rubrics?|response|system|user"
        r"|assistant|instructions?|question|tool_output|think)\s*+>",
    ),
    _address(
        r"<\|[\w-]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
        r"|<[|｜](?:User|Assistant)[|｜]>",
        ("<|", "<｜", "inst]", "sys>>", "_of_turn>"),
    ),
)


def addressed_pieces(text: str) -> tuple[str, ...]:
    """At most 8 excerpts of at most 200 characters, each from the start of a match."""
    shown = visible(text)
    patterns = _possible(shown)
    pieces: list[str] = []
    at = 0
    while len(pieces) < _PIECES and (starts := _starts(patterns, shown, at)):
        at = min(starts) + _PIECE_CHARS
        pieces.append(fold_space(shown[min(starts) : at]))
    return tuple(pieces)


def _possible(text: str) -> list[re.Pattern[str]]:
    lowered = (text if text.isascii() else text.translate(_ALIKE)).lower()
    return [address.pattern for address in _ADDRESSES if address.possible(lowered)]


def _starts(patterns: Sequence[re.Pattern[str]], text: str, at: int) -> list[int]:
    """The start of each pattern's first match from `at` on."""
    matches = (pattern.search(text, at) for pattern in patterns)
    return [match.start() for match in matches if match]
