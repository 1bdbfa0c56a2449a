"""Parses a response's answer block."""

import re
from dataclasses import replace

from citemark_schemas import CitationStyle, RefusalKind, Span
from citemark_service.parsing.addressed import addressed_pieces
from citemark_service.parsing.lines import read_lines
from citemark_service.parsing.notations import read_notations
from citemark_service.parsing.numbered import read_numbered
from citemark_service.parsing.parsed import NO_SOURCES, Answer, Sources
from citemark_service.parsing.references import read_references
from citemark_service.parsing.tagged import read_tagged
from citemark_service.parsing.visible import has_content

_REASONING_END = re.compile(r"</think>", re.IGNORECASE)
_REASONING_START = re.compile(r"\s*+<think>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<(/?)answer\s*+>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[/!?a-z][^<>]*+>", re.IGNORECASE)


def read_answer(
    response: str, style: CitationStyle = "snippet", sources: Sources = NO_SOURCES
) -> Answer:
    """Parse the answer block; `refusal` is set where there is not exactly one. Never raises.

    Text up to the first `</think>` is the policy's reasoning and is ignored. Linear time.

    Args:
        style: The notation of citations; `auto` takes the one that most citations have.
        sources: What the tool output defines; numbers and addresses stand for it.
    """
    block = _answer_block(response)
    if isinstance(block, RefusalKind):
        return Answer(refusal=block)
    text = response[slice(*block)]
    lines = read_lines(response, block)
    response, listed = read_references(response, lines, sources)
    sources = replace(sources, listed=listed) if listed else sources
    notations = read_notations(response, block, lines, sources)
    chosen = notations.choose(sources) if style == "auto" else style
    if chosen == "numbered":
        reading = read_numbered(response, block, lines, notations.markers)
    else:
        reading = read_tagged(response, block, lines, notations.tags[chosen])
    return Answer(
        text=text,
        prose=reading.prose,
        span=block,
        claims=reading.claims,
        sentences=reading.sentences,
        malformed_tags=reading.malformed_tags,
        stray_tags=reading.stray_tags,
        style=chosen,
        marks=reading.marks,
        unread=notations.count_unread(chosen),
        judge_addressed=addressed_pieces(text),
    )


def _answer_block(response: str) -> Span | RefusalKind:
    tags = list(_ANSWER_TAG.finditer(response, _reasoning_end(response)))
    opening = [tag for tag in tags if not tag[1]]
    closing = [tag for tag in tags if tag[1]]
    if len(opening) > 1 or len(closing) > 1:
        return RefusalKind.SEVERAL_ANSWERS
    if not opening or not closing or closing[0].start() < opening[0].end():
        return RefusalKind.NO_ANSWER
    start, end = opening[0].end(), closing[0].start()
    if not has_content(_ANY_TAG.sub("", response[start:end])):
        return RefusalKind.EMPTY_ANSWER
    return start, end


def _reasoning_end(response: str) -> int:
    if end := _REASONING_END.search(response):
        return end.end()
    # Reasoning that never ends leaves no answer.
    return len(response) if _REASONING_START.match(response) else 0
