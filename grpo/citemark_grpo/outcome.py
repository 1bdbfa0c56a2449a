"""What became of one rollout, and what a trainer makes of it. Pure."""

from typing import NamedTuple

from citemark_grpo.errors import ScoreError, Unjudged
from citemark_schemas import SIGNALS, ScoreResult, metrics_of

Outcome = ScoreResult | ScoreError
"""The service's result for a rollout, or why there is none."""


class Score(NamedTuple):
    """A number for a trainer that must have one, and what it came from."""

    reward: float
    """The reward, or what stands in for it."""
    outcome: Outcome


def reward_of(outcome: Outcome) -> float | None:
    """The reward that was judged; None where none was."""
    return None if isinstance(outcome, ScoreError) else outcome.reward


def shortfall(outcome: Outcome) -> str | None:
    """Why there is no reward; None where there is one."""
    if isinstance(outcome, ScoreError):
        return f"{type(outcome).__name__}: {outcome}"
    failure = outcome.failure
    return None if failure is None else f"{failure.kind.value}: {failure.message}"


def signals_of(outcome: Outcome) -> dict[str, float]:
    """One finite float for each of `SIGNALS`, whatever came of the rollout."""
    if isinstance(outcome, ScoreError):
        return {**dict.fromkeys(SIGNALS, 0.0), "judge_failed": 1.0}
    return metrics_of(outcome)


def require_judged(outcome: Outcome) -> ScoreResult:
    """The result that has a reward.

    Raises:
        ScoreError: there is none, for this reason. For trainers that leave out what raises.
    """
    if isinstance(outcome, ScoreError):
        raise outcome
    if outcome.failure is not None:
        raise Unjudged(outcome.failure)
    return outcome
