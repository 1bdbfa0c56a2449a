"""verl: the reward function gets `ground_truth` and `extra_info`, never the prompt."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import Fault, error, prompt_faults, text_faults
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Row, Task, Trainer

_SOURCE: Final = "citemark"


def _lay(task: Task, index: int) -> dict[str, Any]:
    return {
        "data_source": _SOURCE,
        "prompt": list(task.prompt),
        "ability": "research",
        "reward_model": {"style": "rubric", "ground_truth": envelope_text(task.rollout)},
        "extra_info": {"index": index},
    }


def _places(row: Row) -> Mapping[str, object]:
    model = row.get("reward_model")
    truth = model.get("ground_truth") if isinstance(model, Mapping) else None
    return {"extra_info": row.get("extra_info"), "reward_model.ground_truth": truth}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=False)
    yield from text_faults(row.get("data_source"), "data_source", f'write "{_SOURCE}"')
    model, extra = row.get("reward_model"), row.get("extra_info")
    if not isinstance(model, Mapping):
        yield error("reward_model", "is no object", 'write {"ground_truth": …}')
    elif "ground_truth" not in model:
        yield error("reward_model.ground_truth", "is absent", "write it, if only as an empty text")
    if extra is not None and not isinstance(extra, Mapping):
        yield error("extra_info", "is no object; verl reads its index", 'write {"index": …}')


VERL: Final = Trainer(
    name="verl",
    title="verl",
    carries="reward_model.ground_truth, as JSON text",
    flags="data.prompt_key=prompt reward.custom_reward_function.path=pkg://citemark_grpo.verl",
    places=_places,
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={
        "data_source": Kind.TEXT,
        "prompt": MESSAGES,
        "ability": Kind.TEXT,
        "reward_model": {"style": Kind.TEXT, "ground_truth": Kind.TEXT},
        "extra_info": {"index": Kind.INTEGER},
    },
    sends_prompt=False,
)
