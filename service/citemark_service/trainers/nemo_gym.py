"""NeMo Gym: the whole row is posted, with the response beside it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.carrying import FIELDS, envelope_of
from citemark_service.trainers.faults import Fault, error, prompt_faults
from citemark_service.trainers.shapes import MESSAGES
from citemark_service.trainers.trainer import Dialect, Post, Row, Task, Trainer

PARAMS: Final = "responses_create_params"
_ADDED: Final = ("response", "reward")


def prompt_of(row: Row) -> object:
    """What `responses_create_params.input` holds."""
    params = row.get(PARAMS)
    return params.get("input") if isinstance(params, Mapping) else None


def lay(task: Task, _index: int) -> dict[str, Any]:
    """The row with its envelope as keys beside the parameters."""
    return {PARAMS: {"input": list(task.prompt)}, **envelope_of(task.rollout)}


def places(row: Row) -> Mapping[str, object]:
    """The row's own keys."""
    return {"row": {name: row[name] for name in row if name != PARAMS}}


def faults(row: Row) -> Iterator[Fault]:
    """What the agent or the verifier would trip over."""
    yield from prompt_faults(prompt_of(row), f"{PARAMS}.input", text_too=True)
    for name in _ADDED:
        if name in row:
            yield error(name, "is a key that Gym adds itself", "rename or drop it")


def gym_response(response: str) -> dict[str, Any]:
    """A finished response of one message, as the Responses API has it."""
    content = [{"type": "output_text", "text": response, "annotations": []}]
    message = {"id": "msg", "type": "message", "role": "assistant", "status": "completed"}
    return {
        "id": "resp",
        "created_at": 0,
        "model": "doctor",
        "object": "response",
        "output": [{**message, "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    verify = {**row, "response": gym_response(response)}
    return (Post("/seed_session", row), Post("/verify", verify))


def gym_reward(body: Any) -> float | None:
    """The reward of a `/verify` answer, which has to echo what was asked."""
    if not {PARAMS, "response"} <= body.keys():
        raise ValueError(f"the answer does not echo {PARAMS} and response")
    return None if body.get("mask_sample") else float(body["reward"])


NEMO_GYM: Final = Trainer(
    name="nemo-gym",
    title="NeMo Gym",
    carries="keys of the row",
    flags="the data set of a resources server whose /verify is Citemark's",
    places=places,
    prompt=prompt_of,
    lay=lay,
    faults=faults,
    columns={PARAMS: {"input": MESSAGES}, **FIELDS},
    one_type=False,
    suffixes=(".jsonl",),
    dialect=Dialect(_posts, gym_reward),
)
