"""SkyRL: every column but `prompt` and `env_class` reaches the environment in `extras`."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import FIELDS, envelope_of
from citemark_service.trainers.faults import Fault, prompt_faults, warning
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Row, Task, Trainer

ENV_CLASS: Final = "citemark"
_TAKEN: Final = ("prompt", "env_class")


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), "env_class": ENV_CLASS, **envelope_of(task.rollout)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=False)
    if row.get("env_class") is None:
        told = f'write "{ENV_CLASS}", or set environment.env_class to it'
        yield warning("env_class", "is absent", told)
    elif row["env_class"] != ENV_CLASS:
        told = f'write "{ENV_CLASS}" where Citemark is to reward the row'
        yield warning("env_class", "names another environment", told, str(row["env_class"]))


SKYRL: Final = Trainer(
    name="skyrl",
    title="SkyRL",
    carries="columns of their names",
    flags="python -m citemark_grpo.skyrl environment.env_class=citemark generator.batched=false",
    places=lambda row: {"extras": {name: row[name] for name in row if name not in _TAKEN}},
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, "env_class": Kind.TEXT, **FIELDS},
)
