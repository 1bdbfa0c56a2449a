"""One judged rollout, as all processes send it to the first."""

from collections.abc import Sequence
from dataclasses import dataclass

from citemark_schemas import ScoreResult


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """What of a rollout is kept for the record; the sources stay where they are."""

    question: str
    response: str
    finish_reason: str | None
    result: ScoreResult | None
    """None where the service gave none."""

    @property
    def unscaled(self) -> float | None:
        """The reward before `verification_reward`; None where there is none.

        The reward of a refusal, 0 or a penalty, is not scaled and stands as it is.
        """
        result = self.result
        if result is None or result.reward is None:
            return None
        scale = 1.0 if result.refusal is not None else result.knobs.verification_reward
        return result.reward / scale


def rewards_of(rollouts: Sequence[JudgedRollout]) -> list[float | None]:
    """Unscaled rewards, in order."""
    return [rollout.unscaled for rollout in rollouts]
