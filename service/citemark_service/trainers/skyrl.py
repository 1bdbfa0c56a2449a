"""SkyRL: every column but `prompt` and `env_class` reaches the environment in `extras`."""

from collections.abc import Iterator
from typing import Final

from citemark_service.trainers.faults import Fault, warning
from citemark_service.trainers.rows import FIELDS, MESSAGES, Row
from citemark_service.trainers.trainer import Trainer


def find_faults(row: Row) -> Iterator[Fault]:
    if row.get("env_class") is None:
        fix = 'write "citemark", or set environment.env_class to it'
        yield warning("env_class", "is absent", fix)
    elif row["env_class"] != "citemark":
        fix = 'write "citemark" where Citemark is to reward the row'
        yield warning("env_class", "names another environment", fix, str(row["env_class"]))


SKYRL: Final = Trainer(
    name="skyrl",
    title="SkyRL",
    carries="columns of their names",
    flags="python -m citemark_grpo.skyrl environment.env_class=citemark generator.batched=false",
    columns={"prompt": MESSAGES, "env_class": str, **FIELDS},
    text_prompt=False,
    rest="extras",
    own_columns=lambda _task, _index: {"env_class": "citemark"},
    faults=find_faults,
)
