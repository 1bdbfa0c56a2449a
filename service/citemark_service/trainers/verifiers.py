"""verifiers: rewards get all fields of a row; before v1, `info` and `answer`.

Its tasksets of kind `nemo-gym` post to NeMo Gym's `/verify`. They ignore masks but leave out a
rollout whose post raised, so `/strict/verify` answers 503 where a judge failed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from citemark_schemas.cells import TooDeep, object_in
from citemark_service.trainers.faults import Fault, error, warning
from citemark_service.trainers.nemo_gym import VERIFY
from citemark_service.trainers.rows import MESSAGES, RUBRICS, Row
from citemark_service.trainers.trainer import Trainer


def find_faults(row: Row) -> Iterator[Fault]:
    info = row.get("info")
    try:
        unread = info is not None and object_in(info) is None
    except TooDeep:
        unread = True
    if unread:
        yield error("info", "is neither an object nor the JSON of one", "store json.dumps(…)")
    if info is None and row.keys() & {*RUBRICS}:
        fix = "fine for v1; for vf.Rubric, citemark convert puts them into info"
        yield warning("rubrics", "are fields of the row, of which vf.Rubric passes none", fix)


VERIFIERS: Final = Trainer(
    name="verifiers",
    title="verifiers",
    carries="info, as JSON text",
    flags='rewards = { citemark = { fn = "citemark_grpo.verifiers:reward" } }',
    columns={"prompt": MESSAGES, "answer": str, "info": str},
    prompt_at=("prompt", "question"),
    text_at="info",
    envelope_at=("info", "answer"),
    rest="task",
    own_columns=lambda _task, _index: {"answer": ""},
    faults=find_faults,
    routes=(
        replace(
            VERIFY,
            name="verifiers",
            path="/strict/verify",
            client="verifiers",
            on_error="http",
            doc='`resources_url = "http://HOST:8000/strict"` in the task of a `nemo-gym` taskset. '
            "verifiers reads no mask, but leaves a rollout out whose scoring raised: so what "
            "nobody judged is answered with 503.",
        ),
    ),
)
