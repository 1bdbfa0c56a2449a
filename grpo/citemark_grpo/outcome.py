"""The outcome of one rollout: a result or an error, and what trainers need of it."""

from typing import NamedTuple

from citemark_grpo.errors import ScoreError, Unjudged
from citemark_schemas import SIGNALS, ScoreResult, metrics_of

Outcome = ScoreResult | ScoreError


class Score(NamedTuple):
    """A number for a trainer that cannot leave a sample out."""

    reward: float
    """The reward, or what replaces a missing one."""
    outcome: Outcome


def reward_of(outcome: Outcome) -> float | None:
    return None if isinstance(outcome, ScoreError) else outcome.reward


def shortfall(outcome: Outcome) -> str | None:
    """The reason why there is no reward, else None."""
    if isinstance(outcome, ScoreError):
        return f"{type(outcome).__name__}: {outcome}"
    failure = outcome.failure
    return None if failure is None else f"{failure.kind.value}: {failure.message}"


def signals_of(outcome: Outcome) -> dict[str, float]:
    """One finite float for each of `SIGNALS`, also of an error."""
    if isinstance(outcome, ScoreError):
        return {**dict.fromkeys(SIGNALS, 0.0), "judge_failed": 1.0}
    return metrics_of(outcome)


def require_judged(outcome: Outcome) -> ScoreResult:
    """The result; raises `ScoreError` where it has no reward."""
    if isinstance(outcome, ScoreError):
        raise outcome
    if outcome.failure is not None:
        raise Unjudged(outcome.failure)
    return outcome
