"""OpenRLHF: one label column is all that its reward client sends beside the texts."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import Fault, json_text_faults, prompt_faults
from citemark_service.trainers.prompts import chat_text
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Dialect, Post, Row, Task, Trainer

_WHY: Final = "rows whose labels have different keys are filled up with nulls, or do not load"


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), "label": envelope_text(task.rollout)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=True)
    yield from json_text_faults(row.get("label"), "label", _WHY)


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    prompt = chat_text(row.get("prompt"))
    query = f"{prompt}{response}<|im_end|>"
    body = {"query": [query], "prompts": [prompt], "labels": [row.get("label") or ""]}
    return (Post("/get_reward", body),)


def _reward(body: Any) -> float | None:
    (reward,) = body["rewards"]
    (failed,) = body["extra_logs"]["judge_failed"]
    return None if failed else float(reward)


OPENRLHF: Final = Trainer(
    name="openrlhf",
    title="OpenRLHF",
    carries="label, as JSON text",
    flags="--data.input_key prompt --data.apply_chat_template --data.label_key label",
    places=lambda row: {"label": row.get("label")},
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, "label": Kind.TEXT},
    dialect=Dialect(_posts, _reward),
)
