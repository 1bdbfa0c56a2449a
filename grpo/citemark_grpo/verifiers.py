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
and sources may stand in the prompt, and what tools answered counts as source where the row has
none. Where the judge fails, `reward` raises: verifiers marks the trace as failed, and prime-rl
drops it before advantages. The older Rubric turns any exception into a 0.0, so `legacy_reward`
gives the running mean of the same prompt's rewards instead, else `fallback_reward`, and sets
`state["judge_failed"]`.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from citemark_grpo.outcome import require_judged, signals_of
from citemark_grpo.service import connect, to_rollout
from citemark_schemas import metrics_of


class Trace(Protocol):
    """What is read and written of a trace."""

    @property
    def last_reply(self) -> str:
        """The last thing the policy said."""

    @property
    def tool_messages(self) -> Sequence[BaseModel]:
        """What tools answered."""

    @property
    def is_truncated(self) -> bool:
        """Whether a limit ended it."""

    def record_metrics(self, values: Mapping[str, float]) -> None:
        """Keep numbers beside the reward."""


async def reward(task: BaseModel, trace: Trace) -> float:
    """The trace's reward; its metrics are recorded as `citemark_…`.

    Raises:
        ScoreError: nobody judged it; the trace is to be left out.
        EnvelopeError: the task makes no rollout; the message names its field.
        SettingsError: no URL is set, or a setting is wrong.
    """
    return await score_trace(task, trace)


async def score_trace(task: BaseModel, trace: Trace, **overrides: Any) -> float:
    """`reward`, with fields of `ClientSettings` that win over the environment."""
    row = task.model_dump(mode="json")
    rollout = to_rollout(
        {"task": row},
        trace.last_reply,
        prompt=row.get("prompt"),
        tools=[message.model_dump(mode="json") for message in trace.tool_messages],
        finish_reason="length" if trace.is_truncated else "stop",
    )
    (outcome,) = await connect(**overrides).outcomes([rollout])
    result = require_judged(outcome)
    trace.record_metrics({f"citemark_{key}": value for key, value in metrics_of(result).items()})
    # `require_judged` lets no result without one through.
    return result.reward or 0.0


async def legacy_reward(
    prompt: object,
    completion: Any,
    answer: object = None,
    info: object = None,
    state: MutableMapping[str, Any] | None = None,
    **kwargs: Any,  # noqa: ARG001  verifiers passes whatever it has by name
) -> float:
    """One rollout's reward, or what stands in for it; `state` gets its metrics."""
    service = connect()
    rollout = to_rollout({"info": info, "answer": answer}, completion, prompt=prompt)
    (score,) = await service.scores([rollout])
    if state is not None:
        state.update(signals_of(score.outcome))
    return score.reward
