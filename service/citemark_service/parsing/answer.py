"""Parses a response's answer block."""

import re

from citemark_schemas import RefusalKind, Span
from citemark_service.parsing.addressed import addressed_pieces
from citemark_service.parsing.marked import read_claims
from citemark_service.parsing.parsed import Answer, Sentence
from citemark_service.parsing.sentences import split_sentences
from citemark_service.parsing.visible import has_content, normal_form

_REASONING_END = re.compile(r"</think>", re.IGNORECASE)
_REASONING_START = re.compile(r"\s*+<think>", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<(/?)answer\s*+>", re.IGNORECASE)
_ANY_TAG = re.compile(r"<[/!?a-z][^<>]*+>", re.IGNORECASE)


def read_answer(response: str) -> Answer:
    """Parse the answer block; `refusal` is set where there is not exactly one. Never raises.

    Text up to the first `</think>` is the policy's reasoning and is ignored. Linear time.
    """
    block = _answer_block(response)
    if isinstance(block, RefusalKind):
        return Answer(refusal=block)
    text = response[slice(*block)]
    marked = read_claims(response, block)
    return Answer(
        text=text,
        prose=marked.prose,
        span=block,
        claims=marked.claims,
        sentences=_distinct(split_sentences(response, marked.outside, block[1])),
        malformed_tags=marked.malformed_tags,
        stray_tags=marked.stray_tags,
        judge_addressed=addressed_pieces(text),
    )


def _distinct(sentences: tuple[Sentence, ...]) -> tuple[Sentence, ...]:
    """The first of each group of equal sentences, so that a repeated fact counts once."""
    first: dict[str, Sentence] = {}
    for sentence in sentences:
        first.setdefault(normal_form(sentence.text), sentence)
    return tuple(first.values())


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
