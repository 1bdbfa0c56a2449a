"""TRL: every column but the prompt arrives as an argument of the reward function."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import FIELDS, envelope_of
from citemark_service.trainers.faults import Fault, error, prompt_faults
from citemark_service.trainers.shapes import MESSAGES
from citemark_service.trainers.trainer import Row, Task, Trainer

_RESERVED: Final = (
    "prompts",
    "completions",
    "completion_ids",
    "trainer_state",
    "log_extra",
    "log_metric",
    "environments",
)


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), **envelope_of(task.rollout)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=True)
    for name in _RESERVED:
        if name in row:
            yield error(name, "is an argument that TRL passes itself", "rename the column")


TRL: Final = Trainer(
    name="trl",
    title="TRL",
    carries="columns of their names",
    flags="--reward_funcs citemark_grpo.trl.rubric_reward",
    places=lambda row: {"row": {name: row[name] for name in row if name != "prompt"}},
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, **FIELDS},
)
