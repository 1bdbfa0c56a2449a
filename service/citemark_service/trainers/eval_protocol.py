"""eval-protocol: messages and `ground_truth` are posted, with any further keywords."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import Fault, json_text_faults, prompt_faults
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Dialect, Messages, Post, Row, Task, Trainer

_WHY: Final = "its own server takes text alone"


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"messages": list(task.prompt), "ground_truth": envelope_text(task.rollout)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("messages"), "messages", text_too=False)
    yield from json_text_faults(row.get("ground_truth"), "ground_truth", _WHY)


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    messages: Messages = row["messages"] if isinstance(row.get("messages"), list) else []
    said = {"role": "assistant", "content": response}
    body = {"messages": [*messages, said], "ground_truth": row.get("ground_truth")}
    return (Post("/evaluate", body),)


def _reward(body: Any) -> float | None:
    return float(body["score"]) if body.get("is_score_valid", True) else None


EVAL_PROTOCOL: Final = Trainer(
    name="eval-protocol",
    title="eval-protocol",
    carries="ground_truth, as JSON text",
    flags='RewardFunction(mode="remote", endpoint=".../evaluate")',
    places=lambda row: {"ground_truth": row.get("ground_truth")},
    prompt=lambda row: row.get("messages"),
    lay=_lay,
    faults=_faults,
    columns={"messages": MESSAGES, "ground_truth": Kind.TEXT},
    dialect=Dialect(_posts, _reward),
)
