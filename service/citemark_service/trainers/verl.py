"""verl: the reward function gets `ground_truth` and `extra_info`, never the prompt."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.faults import Fault, error, text_faults
from citemark_service.trainers.rows import MESSAGES, Row, Task
from citemark_service.trainers.trainer import Trainer


def own_columns(_task: Task, index: int) -> dict[str, Any]:
    return {
        "data_source": "citemark",
        "ability": "research",
        "reward_model": {"style": "rubric"},
        "extra_info": {"index": index},
    }


def find_faults(row: Row) -> Iterator[Fault]:
    yield from text_faults(row.get("data_source"), "data_source", 'write "citemark"')
    model, info = row.get("reward_model"), row.get("extra_info")
    if not isinstance(model, Mapping):
        yield error("reward_model", "is no object", 'write {"ground_truth": …}')
    elif "ground_truth" not in model:
        yield error("reward_model.ground_truth", "is absent", "write it, if only as an empty text")
    if info is not None and not isinstance(info, Mapping):
        yield error("extra_info", "is no object; verl reads its index", 'write {"index": …}')


VERL: Final = Trainer(
    name="verl",
    title="verl",
    carries="reward_model.ground_truth, as JSON text",
    flags="data.prompt_key=prompt reward.custom_reward_function.path=pkg://citemark_grpo.verl",
    columns={
        "data_source": str,
        "prompt": MESSAGES,
        "ability": str,
        "reward_model": {"style": str, "ground_truth": str},
        "extra_info": {"index": int},
    },
    text_prompt=False,
    text_at="reward_model.ground_truth",
    envelope_at=("extra_info", "reward_model.ground_truth"),
    own_columns=own_columns,
    faults=find_faults,
    sends_prompt=False,
)
