"""TRL: every column but the prompt arrives as an argument of the reward function."""

from collections.abc import Iterator
from typing import Final

from citemark_service.trainers.faults import Fault, error
from citemark_service.trainers.rows import FIELDS, MESSAGES, Row
from citemark_service.trainers.trainer import Trainer

_RESERVED: Final = (
    "prompts",
    "completions",
    "completion_ids",
    "trainer_state",
    "log_extra",
    "log_metric",
    "environments",
)


def find_faults(row: Row) -> Iterator[Fault]:
    for name in _RESERVED:
        if name in row:
            yield error(name, "is an argument that TRL passes itself", "rename the column")


TRL: Final = Trainer(
    name="trl",
    title="TRL",
    carries="columns of their names",
    flags="--reward_funcs citemark_grpo.trl.rubric_reward",
    columns={"prompt": MESSAGES, **FIELDS},
    rest="row",
    faults=find_faults,
)
