"""verifiers: reward functions get the row's `info` and `answer`, and the prompt."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_schemas.cells import TooDeep, object_in
from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import Fault, error, prompt_faults
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Row, Task, Trainer


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), "answer": "", "info": envelope_text(task.rollout)}


def _places(row: Row) -> Mapping[str, object]:
    return {"info": row.get("info"), "answer": row.get("answer")}


def _prompt(row: Row) -> object:
    return row.get("question") if row.get("prompt") is None else row["prompt"]


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(_prompt(row), "prompt", text_too=True)
    info = row.get("info")
    if info is not None and not _is_object(info):
        yield error("info", "is neither an object nor the JSON of one", "store json.dumps(…)")


def _is_object(info: object) -> bool:
    try:
        return object_in(info) is not None
    except TooDeep:
        return False


VERIFIERS: Final = Trainer(
    name="verifiers",
    title="verifiers",
    carries="info, as JSON text",
    flags='rewards = { rubric = { fn = "citemark_grpo.verifiers:reward" } }',
    places=_places,
    prompt=_prompt,
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, "answer": Kind.TEXT, "info": Kind.TEXT},
)
