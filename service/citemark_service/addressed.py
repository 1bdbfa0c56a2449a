"""Answer text that talks to a grader. For review only: it never changes a score by itself."""

import re

from citemark_service.visible import folded, visible

_PIECE_CHARS = 200
_PIECES = 8

_GRADER = r"(?:graders?|judges?|evaluators?|raters?|scorers?|assessors?|verifiers?|reward\s+model)"
_KEYS = r"(?:verdicts?|support(?:ed)?|substantive|contributing|factual|raw_score|reward)"
_FENCES = (
    r"(?:claims?|snippet_text|verdicts?|criteri(?:on|a)|rubrics?|response|system|user|assistant"
    r"|instructions?|question|tool_output|think)"
)
# Every gap is possessive or bounded, so that no text makes a pattern backtrack far.
_PATTERNS = (
    rf"\b(?:notes?|messages?|memo|instructions?|reminder|attention|hints?)\s++(?:to|for)\s++"
    rf"(?:(?:the|any|all|our|whichever|llm|ai)\s++){{0,3}}{_GRADER}\b",
    rf"\b(?:dear|hey|hello|attention)[\s,:]++(?:(?:the|llm|ai)\s++){{0,2}}{_GRADER}\b",
    rf"\b(?:you\s++are|act\s++as)\s++(?:an?|the|my|now)\s++(?:\w++\s++){{0,2}}?{_GRADER}\b",
    r"\b(?:return|output|reply|respond|answer|print|emit|say|mark)\s++"
    r"(?:(?:with|only|it|this|them|all|every|each|claims?|as|the|verdict)\s++){0,4}"
    r"[\"'“]?(?:fully[\s_]++)?supported\b",
    r"\bscores?\s++(?:of\s++)?(?:1(?:\.0)?|2|5|10|100)\s++(?:for|to|on)\s++(?:all|every|each)\b",
    r"\b(?:give|award|assign|grant)\s++(?:\w++\s++){0,4}?"
    r"(?:full|maximum|max|perfect|top|highest)\s++(?:marks?|scores?|points|credit|rating)\b",
    r"\b(?:ignore|disregard|forget|override)\s++(?:\w++\s++){0,3}?"
    r"(?:previous|prior|above|earlier|preceding|these|your)\s++(?:\w++\s++){0,2}?"
    r"(?:instructions?|prompts?|rules|rubrics?|criteria|guidelines)\b",
    r"\b(?:all|every|each)\s++(?:of\s++the\s++)?(?:claims?|citations?|statements?)\s++"
    r"(?:above\s++|here\s++|below\s++)?(?:was|were|is|are|has\s++been|have\s++been)\s++"
    r"(?:\w++\s++)?(?:verified|supported|checked|validated)\b",
    r"\bthis\s++(?:answer|response)\s++(?:deserves|merits|should\s++(?:receive|get|be\s++(?:scored"
    r"|graded|rated))|must\s++(?:receive|get|be\s++(?:scored|graded|rated)))\b",
    rf"[\"']{_KEYS}[\"']\s*+:",
    rf"</?{_FENCES}\s*+>",
    r"<\|[\w-]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<[|｜](?:User|Assistant)[|｜]>",
)
_ADDRESSED = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)


def addressed_pieces(text: str) -> tuple[str, ...]:
    """At most 8 pieces of at most 200 characters, each from where it starts to address a judge."""
    shown = visible(text)
    pieces: list[str] = []
    at = 0
    while len(pieces) < _PIECES and (match := _ADDRESSED.search(shown, at)):
        at = match.start() + _PIECE_CHARS
        pieces.append(folded(shown[match.start() : at]))
    return tuple(pieces)
