"""slime: over HTTP the label is all that travels of a row; a function sees `metadata` too."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.carrying import RUBRICS, envelope_text
from citemark_service.trainers.faults import Fault, json_text_faults, prompt_faults, warning
from citemark_service.trainers.shapes import MESSAGES, Kind
from citemark_service.trainers.trainer import Dialect, Post, Row, Task, Trainer

_WHY: Final = "releases that read JSON lines with pandas make it Python's text of a dict"


def _lay(task: Task, _index: int) -> dict[str, Any]:
    return {"prompt": list(task.prompt), "label": envelope_text(task.rollout)}


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=True)
    metadata = row.get("metadata")
    if isinstance(metadata, Mapping) and metadata.keys() & {*RUBRICS}:
        yield warning(
            "metadata",
            "holds the rubrics; --rm-url sends the label alone",
            "use --custom-rm-path citemark_grpo.slime.rm, or convert the file",
        )
    else:
        yield from json_text_faults(row.get("label"), "label", _WHY)


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    body = {"prompt": row.get("prompt"), "response": response, "label": row.get("label")}
    return (Post("/rm", body),)


def _reward(body: Any) -> float | None:
    return None if body["judge_failed"] else float(body["reward"])


SLIME: Final = Trainer(
    name="slime",
    title="slime",
    carries="label, as JSON text",
    flags="--input-key prompt --apply-chat-template --label-key label --reward-key reward",
    places=lambda row: {"metadata": row.get("metadata"), "label": row.get("label")},
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={"prompt": MESSAGES, "label": Kind.TEXT},
    one_type=False,
    dialect=Dialect(_posts, _reward),
)
