"""CaRR's fork of slime: a history of messages, of which the last is judged. Pure.

Its trainer mixes `outcome_reward` and `rubric_reward` by `--rubric-reward-ratio` itself. At the
ratio's default of 0 it trains on `outcome_reward` alone, which is the whole reward here.
"""

from collections.abc import Mapping
from typing import Any, Final

from citemark_schemas import ScoreResult, Source, metrics_of
from citemark_schemas.cells import object_in
from citemark_schemas.transcript import reply_in, sources_in
from citemark_service.web.dialects.dialect import Outcome, Sample, misshapen

_INFO: Final = "remote_env_info"
_MET: Final = 0.5


def read(body: Mapping[str, Any]) -> list[Sample]:
    """The last message as the response; empty, and so worth 0, where the policy did not finish.

    Raises:
        InvalidRequest: the history is no list of messages.
    """
    history = body.get("history")
    if not isinstance(history, list) or not all(isinstance(each, Mapping) for each in history):
        raise misshapen("history", "must be a list of messages")
    prompt = [_plain(message) for message in history[:-1]]
    response = "" if body.get("task_unfinished") else reply_in(history[-1:])
    places = {"label": body.get("label"), _INFO: _row(body)}
    return [Sample(places, response, prompt, sources_in(prompt) or "")]


def _row(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the fork calls `remote_env_info`, in our words."""
    info = body.get(_INFO)
    row = {"finish_reason": "stop", **(info if isinstance(info, Mapping) else {})}
    forbidden = row.get("search_forbidden_strs")
    if isinstance(forbidden, list) and forbidden:
        row.setdefault("question", forbidden[0])
    label, rubrics = body.get("label"), row.get("rubrics") or []
    if isinstance(label, str) and label.strip() and isinstance(rubrics, list):
        row["rubrics"] = rubrics if object_in(label) else [*rubrics, _correct(label)]
    return row


def _correct(label: str) -> dict[str, str]:
    """A label that is no envelope is the right answer; last, as rubrics are told by position."""
    return {
        "title": "Correct answer",
        "description": f"The final answer agrees with the reference answer: {label.strip()}",
    }


def _plain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool's message with its text; the fork lists the answers to several calls in one."""
    content = message.get("content")
    if message.get("role") != "tool" or not isinstance(content, list):
        return message
    told = (part.get("output", part.get("text")) for part in content if isinstance(part, Mapping))
    return {"role": "tool", "content": "\n".join(each for each in told if isinstance(each, str))}


def write(outcome: Outcome, _: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that the fork reads, and the metrics."""
    result = outcome.result
    judged = outcome.reward if outcome.failed else float(result.rubric_reward or 0.0)
    return {
        **metrics_of(result),
        "reward": outcome.reward,
        "outcome_reward": outcome.reward,
        "rubric_reward": judged,
        "rubric_scores": {} if outcome.failed else _scores(result),
    }


def _scores(result: ScoreResult) -> dict[str, dict[str, Any]]:
    own = [rubric for rubric in result.rubrics if rubric.source is Source.INSTANCE]
    return {
        str(position): {
            "raw_rubric": rubric.title,
            "is_supported": rubric.score >= _MET,
            "score": float(rubric.score),
        }
        for position, rubric in enumerate(own)
    }
