"""CaRR's fork of slime: `label`, and what `metadata.remote_env_info` holds, travel."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_service.trainers.carrying import envelope_text
from citemark_service.trainers.faults import (
    Fault,
    error,
    json_text_faults,
    prompt_faults,
    text_faults,
)
from citemark_service.trainers.shapes import MESSAGES, Kind, ListOf
from citemark_service.trainers.trainer import Dialect, Messages, Post, Row, Task, Trainer
from citemark_service.web.dialects.carr import read

_SOURCE: Final = "citemark"
_INFO: Final = "metadata.remote_env_info"
_WHY: Final = "the fork passes it on as it is, other releases do not"


def _lay(task: Task, _index: int) -> dict[str, Any]:
    forbidden = [task.rollout.question]
    return {
        "source": _SOURCE,
        "prompt": list(task.prompt),
        "label": envelope_text(task.rollout),
        "metadata": {"remote_env_info": {"search_forbidden_strs": forbidden}},
    }


def _info(row: Row) -> object:
    metadata = row.get("metadata")
    return metadata.get("remote_env_info") if isinstance(metadata, Mapping) else None


def _places(row: Row) -> Mapping[str, object]:
    """As the route reads them: a label that is no envelope is a criterion there."""
    body = {"history": [], "label": row.get("label"), "remote_env_info": _info(row)}
    (sample,) = read(body)
    return sample.places


def _faults(row: Row) -> Iterator[Fault]:
    yield from prompt_faults(row.get("prompt"), "prompt", text_too=False)
    yield from text_faults(row.get("source"), "source", "name an entry of source_config.json")
    if not isinstance(_info(row), Mapping):
        yield error(_INFO, "is no object; the fork's tools need it", "write it, if only as {}")
        yield from json_text_faults(row.get("label"), "label", _WHY)


def _posts(row: Row, response: str) -> tuple[Post, ...]:
    prompt = row.get("prompt")
    history: Messages = prompt if isinstance(prompt, list) else []
    said = {"role": "assistant", "content": response}
    body = {
        "history": [*history, said],
        "label": row.get("label"),
        "task_unfinished": False,
        "remote_env_info": _info(row) or {},
    }
    return (Post("/evaluate", body),)


def _reward(body: Any) -> float | None:
    return None if body.get("judge_failed") else float(body["reward"])


CARR: Final = Trainer(
    name="carr",
    title="CaRR",
    carries="label, as JSON text (or metadata.remote_env_info)",
    flags='reward_model.kwargs.remote_url ".../evaluate" in source_config.json',
    places=_places,
    prompt=lambda row: row.get("prompt"),
    lay=_lay,
    faults=_faults,
    columns={
        "source": Kind.TEXT,
        "prompt": MESSAGES,
        "label": Kind.TEXT,
        "metadata": {"remote_env_info": {"search_forbidden_strs": ListOf(Kind.TEXT)}},
    },
    one_type=False,
    dialect=Dialect(_posts, _reward),
)
