"""CaRR's fork of slime: posts a history of messages to `/evaluate`; the last one is judged.

It sends `label` and `metadata.remote_env_info`, and mixes `outcome_reward` and `rubric_reward` by
`--rubric-reward-ratio`. At the default ratio of 0 it trains on `outcome_reward` alone, which is
therefore the whole reward.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from citemark_schemas import Source, metrics_of
from citemark_schemas.cells import TooDeep, object_in, value_at
from citemark_schemas.transcript import reply_in, sources_in
from citemark_service.trainers.faults import Fault, error, json_text_faults, text_faults
from citemark_service.trainers.route import Body, Outcome, PostedRollout, bad_body
from citemark_service.trainers.rows import MESSAGES, Row
from citemark_service.trainers.trainer import Trainer

_INFO: Final = "remote_env_info"
_INFO_AT: Final = f"metadata.{_INFO}"


def read(body: Body) -> list[PostedRollout]:
    history = body.get("history")
    if not isinstance(history, list) or not all(isinstance(each, Mapping) for each in history):
        raise bad_body("history", "must be a list of messages")
    prompt = [_flatten(message) for message in history[:-1]]
    # An unfinished task has no answer: an empty response is refused with reward 0.
    response = "" if body.get("task_unfinished") else reply_in(history[-1:])
    places = _places(body.get("label"), body.get(_INFO))
    return [PostedRollout(places, response, prompt, sources_in(prompt) or "")]


def _flatten(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool's message with text as content; the fork lists the outputs of several calls in it."""
    content = message.get("content")
    if message.get("role") != "tool" or not isinstance(content, list):
        return message
    parts = (part.get("output", part.get("text")) for part in content if isinstance(part, Mapping))
    return {"role": "tool", "content": "\n".join(each for each in parts if isinstance(each, str))}


def _places(label: object, info: object) -> dict[str, object]:
    """The label and `remote_env_info`, completed to an envelope."""
    row: dict[str, Any] = {"finish_reason": "stop", **(info if isinstance(info, Mapping) else {})}
    # The first string that the policy may not search for is the question itself.
    forbidden = row.get("search_forbidden_strs")
    if isinstance(forbidden, list) and forbidden:
        row.setdefault("question", forbidden[0])
    rubrics = row.get("rubrics") or []
    try:
        answer = label.strip() if isinstance(label, str) and object_in(label) is None else ""
    except TooDeep:  # whoever reads the label says so
        answer = ""
    if answer and isinstance(rubrics, list):
        # A label that is no envelope is the correct answer. Its criterion comes last: the fork
        # refers to rubrics by position.
        correct = {
            "title": "Correct answer",
            "description": f"The final answer agrees with the reference answer: {answer}",
        }
        row["rubrics"] = [*rubrics, correct]
    return {"label": label, _INFO: row}


def write(outcome: Outcome) -> dict[str, Any]:
    """The answer for the fork, with metrics."""
    result = outcome.result
    own = [rubric for rubric in result.rubrics if rubric.source is Source.INSTANCE]
    scores = {
        str(position): {
            "raw_rubric": rubric.title,
            "is_supported": rubric.score >= 0.5,
            "score": float(rubric.score),
        }
        for position, rubric in enumerate(own)
    }
    return {
        **metrics_of(result),
        "reward": outcome.reward,
        "outcome_reward": outcome.reward,
        "rubric_reward": outcome.reward if outcome.failed else float(result.rubric_reward or 0.0),
        "rubric_scores": {} if outcome.failed else scores,
    }


def find_faults(row: Row) -> Iterator[Fault]:
    yield from text_faults(row.get("source"), "source", "name an entry of source_config.json")
    metadata = row.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get(_INFO), Mapping):
        yield error(_INFO_AT, "is no object; the fork's tools need it", "write it, if only as {}")
        why = "the fork passes it on as it is, other releases do not"
        yield from json_text_faults(row.get("label"), "label", why)


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    prompt = row.get("prompt")
    history = prompt if isinstance(prompt, list) else []
    body = {
        "history": [*history, {"role": "assistant", "content": response}],
        "label": row.get("label"),
        "task_unfinished": False,
        _INFO: value_at(row, _INFO_AT) or {},
    }
    return {"/evaluate": body}


CARR: Final = Trainer(
    name="carr",
    title="CaRR",
    carries="label, as JSON text (or metadata.remote_env_info)",
    flags='reward_model.kwargs.remote_url ".../evaluate" in source_config.json',
    columns={
        "source": str,
        "prompt": MESSAGES,
        "label": str,
        "metadata": {_INFO: {"search_forbidden_strs": [str]}},
    },
    text_prompt=False,
    text_at="label",
    read_places=lambda row: _places(row.get("label"), value_at(row, _INFO_AT)),
    own_columns=lambda task, _index: {
        "source": "citemark",
        "metadata": {_INFO: {"search_forbidden_strs": [task.rollout.question]}},
    },
    faults=find_faults,
    one_type=False,
    posts=make_posts,
    reward=lambda answer: None if answer.get("judge_failed") else float(answer["reward"]),
)
