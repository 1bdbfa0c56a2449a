"""open-instruct: a verifier, chosen by `dataset`, gets the row's `ground_truth`."""

from collections.abc import Iterator
from typing import Any, Final

from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import (
    Fault,
    error,
    json_text_faults,
    prompt_faults,
    warning,
)
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Row, Task, Trainer

VERIFIER: Final = "citemark"
_KNOWN: Final = (VERIFIER, "code")
_WHY: Final = "the column is text for all verifiers"


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {
        "messages": list(task.prompt),
        "ground_truth": envelope_text(task.rollout),
        "dataset": VERIFIER,
    }


def _faults(row: Row) -> Iterator[Fault]:
    messages = row.get("messages")
    yield from prompt_faults(messages, "messages", text_too=False)
    if isinstance(messages, list) and len(messages) > 1 and not _answered(messages):
        yield warning(
            "messages",
            "several messages, the last not an assistant's: some releases drop the last one",
            "put everything into one user message",
        )
    truth, name = row.get("ground_truth"), row.get("dataset")
    if not isinstance(truth, list):  # one for each of several verifiers
        yield from json_text_faults(truth, "ground_truth", _WHY)
    names = name if isinstance(name, list) else [name]
    if not any(str(each).lower() in _KNOWN for each in names):
        told = f'write "{VERIFIER}", or "code" for --code_api_url'
        yield error("dataset", "names no verifier of Citemark's", told, str(name))


def _answered(messages: list[Any]) -> bool:
    last = messages[-1]
    return isinstance(last, dict) and last.get("role") == "assistant"


OPEN_INSTRUCT: Final = Trainer(
    name="open-instruct",
    title="open-instruct",
    carries="ground_truth, as JSON text",
    flags="python -m citemark_grpo.open_instruct open_instruct/grpo_fast.py",
    places=lambda row: {"ground_truth": row.get("ground_truth")},
    prompt=lambda row: row.get("messages"),
    lay=_lay,
    faults=_faults,
    columns={"messages": MESSAGES, "ground_truth": Kind.TEXT, "dataset": Kind.TEXT},
)
