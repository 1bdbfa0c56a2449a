"""Rewards for TRL (GRPOTrainer, RLOOTrainer and async GRPO; 1.6 or newer leaves a None out).

    export CITEMARK_URL=http://HOST:8000
    trl grpo --reward_funcs citemark_grpo.trl.rubric_reward …

    from citemark_grpo.trl import rubric_reward
    GRPOTrainer(…, reward_funcs=rubric_reward)      # set no other, see below

Rubrics, question and tool output are columns of the data set: `question`, `tool_output` (or
`snippets`), `positive_rubrics`, `negative_rubrics`, `rubrics`; see `citemark_schemas.envelope`.
Question and sources may be in the prompt instead. Where the judge fails, or the service cannot be
reached within the deadline, the reward is None: TRL leaves the sample out of its group's baseline
and of the loss, unless another reward function gives it a number. A malformed row raises. Of a
conversation the last assistant message is judged, with its tool messages as sources.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from citemark_grpo.errors import ScoreError
from citemark_grpo.outcome import reward_of, shortfall, signals_of
from citemark_grpo.service import connect
from citemark_schemas import SIGNALS, Knobs, group_noise
from citemark_schemas.means import prompt_key

Text = str | Sequence[Mapping[str, Any]]  # or the messages of a conversation


async def rubric_reward(
    prompts: Sequence[Text],
    completions: Sequence[Text],
    *,
    completion_ids: object = None,  # noqa: ARG001  TRL passes it by name
    log_extra: Callable[[str, list[Any]], None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    trainer_state: Any = None,
    environments: object = None,  # noqa: ARG001  TRL passes it by name
    **columns: Sequence[Any],
) -> list[float | None]:
    """One reward for each completion, in order; None where it was not judged.

    Logs means of `SIGNALS` over judged completions and their `group_noise` as `citemark/…`, 0.0
    where not known, and four columns of the completions table.
    """
    service, rollouts = connect(), []
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        fields = {name: values[row] for name, values in columns.items()}
        rollouts.append(service.to_rollout({f"rows[{row}]": fields}, completion, prompt=prompt))
    step = None if trainer_state is None else trainer_state.global_step
    outcomes = await service.outcomes(rollouts, step)
    signals = [signals_of(outcome) for outcome in outcomes]
    if log_metric is not None:
        judged = [each for each in signals if not each["judge_failed"]]
        # The same keys at every call: TRL's ranks wait for each other's.
        for name in SIGNALS:
            values = [each[name] for each in (signals if name == "judge_failed" else judged)]
            log_metric(f"citemark/{name}", fmean(values) if values else 0.0)
        prompted = (prompt_key(rollout, Knobs()) for rollout in rollouts)
        known = (
            (None, None) if isinstance(each, ScoreError) else (each.reward, each.reward_std)
            for each in outcomes
        )
        noise = group_noise((key, *pair) for key, pair in zip(prompted, known, strict=True))
        log_metric("citemark/group_noise", noise or 0.0)
    if log_extra is not None:
        # Prefixed: a column of the function's name would take the rewards' place in the table.
        for name in ("reward_std", "rubric_reward", "citation_f1"):
            log_extra(f"citemark/{name}", [each[name] for each in signals])
        log_extra("judge_failure", [shortfall(outcome) or "" for outcome in outcomes])
    return [reward_of(outcome) for outcome in outcomes]
