"""Faults of rows, and the checks that several trainers share. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Final

_TEMPLATED: Final = ("<|im_start|>", "<|start_header_id|>", "[INST]", "<start_of_turn>")


class Severity(StrEnum):
    ERROR = "error"
    """Training would break, or learn nothing from the row."""
    WARNING = "warning"
    """Training works, but worse than it could."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one row. Faults of several rows that differ only in `detail` are one finding."""

    severity: Severity
    field: str
    problem: str
    """Must not contain anything specific to the row."""
    fix: str
    detail: str = ""
    """What is specific to the row."""


error = partial(Fault, Severity.ERROR)
warning = partial(Fault, Severity.WARNING)


def prompt_faults(value: object, field: str, *, text_too: bool) -> Iterator[Fault]:
    """Faults of a prompt that is absent, empty, or neither chat messages nor permitted text."""
    wanted = "chat messages or text" if text_too else "a list of chat messages"
    fix = "citemark convert writes it, from the row's own prompt or from a template"
    if value is None:
        yield error(field, "there is no prompt", fix)
    elif isinstance(value, str):
        if not text_too:
            yield error(field, f"is text; the trainer needs {wanted}", fix)
        if not value.strip():
            yield error(field, "the prompt is empty", "leave the row out")
        if any(mark in value for mark in _TEMPLATED):
            yield warning(
                field,
                "a chat template is already applied; most trainers apply it again",
                "keep the messages instead, or leave the trainer's own template off",
            )
    elif not isinstance(value, list | tuple) or not value:
        yield error(field, f"is not {wanted}", fix)
    else:
        yield from islice(_message_faults(value, field), 1)  # one bad message is enough to report


def _message_faults(messages: Sequence[object], field: str) -> Iterator[Fault]:
    for at, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            yield error(f"{field}[{at}]", "is no message with a role", "write role and content")
        elif message.get("content") is None and not message.get("tool_calls"):
            yield error(f"{field}[{at}]", "a message without content", "write role and content")


def text_faults(value: object, field: str, fix: str) -> Iterator[Fault]:
    """Faults of a column that has to be text."""
    if value is None:
        yield error(field, "is absent", fix)
    elif not isinstance(value, str):
        yield error(field, "is not text", fix, type(value).__name__)


def json_text_faults(value: object, field: str, why: str) -> Iterator[Fault]:
    """Faults of a column that should hold the envelope as JSON text."""
    if value is None or value == "":
        yield error(field, "is empty", "put the envelope there: citemark convert does")
    elif not isinstance(value, str):
        yield warning(field, f"is an object, not its JSON; {why}", "store json.dumps(…) of it")
