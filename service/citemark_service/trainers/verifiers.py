"""verifiers: a task has all fields of its row; before v1, rewards got `info` and `answer`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_schemas.cells import TooDeep, object_in
from citemark_service.trainers.carrying import RUBRICS, envelope_text
from citemark_service.trainers.faults import Fault, error, prompt_faults, warning
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Row, Task, Trainer

_TAKEN: Final = ("prompt", "info", "answer")


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), "answer": "", "info": envelope_text(task.rollout)}


def _places(row: Row) -> Mapping[str, object]:
    task = {name: value for name, value in row.items() if name not in _TAKEN}
    return {"info": row.get("info"), "answer": row.get("answer"), "task": task}


def _prompt(row: Row) -> object:
    return row.get("question") if row.get("prompt") is None else row["prompt"]


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(_prompt(row), "prompt", text_too=True)
    info = row.get("info")
    if info is not None and not _is_object(info):
        yield error("info", "is neither an object nor the JSON of one", "store json.dumps(…)")
    if info is None and row.keys() & {*RUBRICS}:
        told = "fine for v1; for vf.Rubric, citemark convert puts them into info"
        yield warning("rubrics", "are fields of the row, of which vf.Rubric passes none", told)


def _is_object(info: object) -> bool:
    try:
        return object_in(info) is not None
    except TooDeep:
        return False


VERIFIERS: Final = Trainer(
    name="verifiers",
    title="verifiers",
    carries="info, as JSON text",
    flags='rewards = { citemark = { fn = "citemark_grpo.verifiers:reward" } }',
    places=_places,
    prompt=_prompt,
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, "answer": Kind.TEXT, "info": Kind.TEXT},
)
