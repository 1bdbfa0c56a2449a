"""Rewards for TRL (GRPOTrainer, RLOOTrainer and async GRPO; 1.6 or newer leaves a None out).

    export CITEMARK_URL=http://HOST:8000
    trl grpo --reward_funcs citemark_grpo.trl.rubric_reward …

    from citemark_grpo.trl import rubric_reward
    GRPOTrainer(…, reward_funcs=rubric_reward)      # set no other, see below

Rubrics, question and tool output are columns of the data set: `question`, `tool_output` (or
`snippets`), `positive_rubrics`, `negative_rubrics`, `rubrics`; see `citemark_schemas.envelope`.
Question and sources may stand in the prompt instead. Where the judge fails, or the service cannot
be reached within the deadline, the reward is None: TRL leaves the sample out of its group's
baseline and of the loss, as long as no other reward function gives it a number. A malformed row
raises. Of a conversation the last assistant message is judged, with what tools answered as
sources.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol

from citemark_grpo.outcome import Outcome, reward_of, shortfall, signals_of
from citemark_grpo.service import connect
from citemark_schemas import SIGNALS, Rollout, reply_in, rollout_of, tools_in, unwrapped

Text = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation."""

_COLUMNS = ("rubric_reward", "citation_f1")


class TrainerState(Protocol):
    """What is read of the trainer's state."""

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""


async def rubric_reward(
    prompts: Sequence[Text],
    completions: Sequence[Text],
    *,
    completion_ids: object = None,  # noqa: ARG001  TRL passes it by name
    log_extra: Callable[[str, list[Any]], None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    trainer_state: TrainerState | None = None,
    environments: object = None,  # noqa: ARG001  TRL passes it by name
    **columns: Sequence[Any],
) -> list[float | None]:
    """One reward for each completion, in order; None where nobody judged it.

    Logs the means of `SIGNALS` over what was judged as `citemark/…`, and three columns of the
    completions table: the same keys at every call, because TRL's ranks wait for each other's.

    Raises:
        EnvelopeError: a row makes no rollout; the message names row and field.
        Refused: the service does not take a rollout, or the token.
        SettingsError: no URL is set, or a setting is wrong.
    """
    rollouts = [
        _rollout(row, prompt, completion, columns)
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]
    step = None if trainer_state is None else trainer_state.global_step
    outcomes = await connect().outcomes(rollouts, step)
    if log_metric is not None:
        _log_means(outcomes, log_metric)
    if log_extra is not None:
        _log_columns(outcomes, log_extra)
    return [reward_of(outcome) for outcome in outcomes]


def _rollout(
    row: int, prompt: Text, completion: Text, columns: Mapping[str, Sequence[Any]]
) -> Rollout:
    fields = {name: values[row] for name, values in columns.items()}
    if isinstance(completion, str):
        response, told = unwrapped(completion, prompt), None
    else:
        response, told = reply_in(completion), tools_in(completion)
    places = {f"rows[{row}]": fields}
    return rollout_of(places, response=response, prompt=prompt, tool_output=told)


def _log_means(outcomes: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    every = [signals_of(outcome) for outcome in outcomes]
    known = [signals for signals in every if not signals["judge_failed"]]
    for name in SIGNALS:
        values = [signals[name] for signals in (every if name == "judge_failed" else known)]
        log_metric(f"citemark/{name}", fmean(values) if values else 0.0)


def _log_columns(outcomes: Sequence[Outcome], log_extra: Callable[[str, list[Any]], None]) -> None:
    # Prefixed, because a column of the function's name would take the rewards' place in the table.
    for name in _COLUMNS:
        log_extra(f"citemark/{name}", [signals_of(outcome)[name] for outcome in outcomes])
    log_extra("judge_failure", [shortfall(outcome) or "" for outcome in outcomes])
