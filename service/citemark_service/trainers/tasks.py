"""From a row of any layout to its task. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_schemas import Rollout
from citemark_schemas.envelope import rollout_of
from citemark_service.trainers.prompts import PromptTemplate, messages_of
from citemark_service.trainers.trainer import Row, Task, Trainer

PLACES: Final = (
    ("label",),
    ("ground_truth",),
    ("reward_model", "ground_truth"),
    ("answer",),
    ("tests",),
    ("info",),
    ("extra_info",),
    ("metadata", "remote_env_info"),
    ("metadata",),
    ("verify_extra",),
)
"""Where trainers carry row data, strongest first; last comes the row itself."""
PROMPTS: Final = (
    ("prompt",),
    ("messages",),
    ("responses_create_params", "input"),
    ("input_messages",),
    ("history",),
)
"""Where prompts stand."""


def rollout_in(row: Row, trainer: Trainer) -> Rollout:
    """The rollout that the trainer's reward would be asked about, with an empty response.

    Raises:
        EnvelopeError: there is none; its details name place and field.
    """
    prompt = trainer.prompt(row) if trainer.sends_prompt else None
    return rollout_of(trainer.places(row), response="", prompt=prompt)


def rollout_anywhere(row: Row) -> Rollout:
    """The rollout of a row whose layout is not known: every place of every trainer is looked at.

    Raises:
        EnvelopeError: as `rollout_in`.
    """
    return rollout_of(_everywhere(row), response="", prompt=_prompt_anywhere(row))


def task_of(row: Row, trainer: Trainer | None, template: PromptTemplate) -> Task:
    """The task of a row.

    Args:
        trainer: whose layout the row has; None to look everywhere.
        template: makes the prompt where the row has none, or where it `replaces` the row's own.

    Raises:
        EnvelopeError: as `rollout_in`.
        ValueError: the template fails.
    """
    rollout = rollout_anywhere(row) if trainer is None else rollout_in(row, trainer)
    own = None if template.replaces else messages_of(_own_prompt(row, trainer))
    return Task(rollout, template.messages(rollout, row) if own is None else own)


def _own_prompt(row: Row, trainer: Trainer | None) -> object:
    return _prompt_anywhere(row) if trainer is None else trainer.prompt(row)


def _everywhere(row: Row) -> dict[str, object]:
    found = {".".join(path): _at(row, path) for path in PLACES}
    told = {place: value for place, value in found.items() if value is not None}
    heads = {path[0] for path in PLACES}
    return {**told, "row": {name: value for name, value in row.items() if name not in heads}}


def _prompt_anywhere(row: Row) -> Any:
    return next(_filled(row), None)


def _filled(row: Row) -> Iterator[Any]:
    values = (_at(row, path) for path in PROMPTS)
    return (value for value in values if messages_of(value) is not None)


def _at(row: Row, path: tuple[str, ...]) -> Any:
    value: Any = row
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
