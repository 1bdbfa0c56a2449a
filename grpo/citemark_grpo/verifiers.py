"""Rewards for verifiers and prime-rl.

    export CITEMARK_URL=http://HOST:8000

    # verifiers v1 (0.4): plugged into any task set, no code
    [….taskset.task.rewards]
    citemark = { fn = "citemark_grpo.verifiers:reward", weight = 1.0 }

    # or as a judge, which carries the URL in the configuration: see `citemark_judge`
    [[….taskset.task.judges]]
    id = "citemark-judge"
    base_url = "http://HOST:8000"

    # the older vf.Rubric
    from citemark_grpo.verifiers import legacy_reward
    vf.Rubric(funcs=[legacy_reward])

Rubrics, question and tool output are fields of the task (older: of `info` or `answer`); question
and sources may be in the prompt, and tool messages are sources where the row has none. Where the
judge fails, `reward` raises: verifiers marks the trace as failed, and prime-rl drops it before
advantages. The older Rubric turns any exception into a 0.0, so `legacy_reward` gives the running
mean of the same prompt's rewards, else `fallback_reward`, and sets `state["judge_failed"]`.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from citemark_grpo.outcome import require_judged, signals_of
from citemark_grpo.service import connect
from citemark_schemas import metrics_of


class Trace(Protocol):
    @property
    def last_reply(self) -> str:
        """The policy's last message."""

    @property
    def tool_messages(self) -> Sequence[BaseModel]:
        """In order."""

    @property
    def is_truncated(self) -> bool:
        """True if a limit ended it."""

    def record_metrics(self, values: Mapping[str, float]) -> None:
        """Add numbers to the trace's metrics."""


async def reward(task: BaseModel, trace: Trace) -> float:
    """The trace's reward; metrics are recorded as `citemark_…`.

    Raises `ScoreError` where it was not judged, else as `citemark_grpo.service`.
    """
    return await score_trace(task, trace)


async def score_trace(task: BaseModel, trace: Trace, **overrides: Any) -> float:
    """`reward`; `overrides` are fields of `ClientSettings`."""
    service = connect(**overrides)
    row = task.model_dump()  # as JSON, a weight that is no number would be an absent one
    rollout = service.to_rollout(
        {"task": row},
        trace.last_reply,
        prompt=row.get("prompt"),
        tools=[message.model_dump(mode="json") for message in trace.tool_messages],
        finish_reason="length" if trace.is_truncated else "stop",
    )
    (outcome,) = await service.outcomes([rollout])
    result = require_judged(outcome)
    trace.record_metrics({f"citemark_{key}": value for key, value in metrics_of(result).items()})
    return result.reward or 0.0  # never None here: `require_judged` raises


async def legacy_reward(
    prompt: object,
    completion: Any,
    answer: object = None,
    info: object = None,
    state: MutableMapping[str, Any] | None = None,
    **kwargs: Any,  # noqa: ARG001  verifiers passes all it has by name
) -> float:
    """One rollout's reward, or its replacement; metrics go to `state`."""
    service = connect()
    rollout = service.to_rollout({"info": info, "answer": answer}, completion, prompt=prompt)
    (score,) = await service.scores([rollout])
    if state is not None:
        state.update(signals_of(score.outcome))
    return score.reward
