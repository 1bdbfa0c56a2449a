"""Citemark's own rows: a rollout without its response, and its prompt as messages."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import FIELDS, envelope_of
from citemark_service.trainers.faults import Fault, prompt_faults
from citemark_service.trainers.shapes import MESSAGES
from citemark_service.trainers.trainer import Row, Task, Trainer


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {**envelope_of(task.rollout), "messages": list(task.prompt)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("messages"), "messages", text_too=True)


CITEMARK: Final = Trainer(
    name="citemark",
    title="Citemark",
    carries="fields of the row",
    flags="a rollout for /v1/score, once it has a response",
    places=lambda row: {"row": row},
    prompt=lambda row: row.get("messages"),
    lay=_lay,
    faults=_faults,
    columns={**FIELDS, "messages": MESSAGES},
)
