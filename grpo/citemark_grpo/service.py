"""The reward service as the trainers' callables see it: rows in, rewards and metrics out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from citemark_grpo.errors import Refused, ScoreError, Unjudged
from citemark_grpo.gathering import Score
from citemark_grpo.settings import ClientSettings, load_settings
from citemark_grpo.source import Source, source_of
from citemark_grpo.standins import Outcome
from citemark_schemas import SIGNALS, Rollout, ScoreResult, metrics_of

FAILED: Final = {**dict.fromkeys(SIGNALS, 0.0), "judge_failed": 1.0}
"""The metrics of a rollout of which nothing is known."""


@dataclass(frozen=True, slots=True)
class RewardService:
    """A service, how it is asked, and what stands in where it cannot answer."""

    settings: ClientSettings
    source: Source

    async def outcomes(self, rollouts: Sequence[Rollout], step: int | None = None) -> list[Outcome]:
        """One outcome for each rollout, in order.

        Raises:
            Refused: the service takes a rollout, or the caller, for wrong: a mistake in the data
                or the configuration, which going on would only hide.
        """
        filled = [self.settings.filled(rollout, step) for rollout in rollouts]
        outcomes = await self.source.outcomes(filled, self.settings.deadline_s)
        _accept(outcomes)
        return outcomes

    async def scores(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`outcomes` for trainers that cannot leave a sample out: a number for each, which is the
        mean of the same prompt's rewards, else `fallback_reward`, where nobody judged it."""
        filled = [self.settings.filled(rollout) for rollout in rollouts]
        asked = self.settings.deadline_s, self.settings.fallback_reward
        scores = await self.source.scores(filled, *asked)
        _accept([score.outcome for score in scores])
        return scores

    def scores_sync(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`scores` for code without an event loop; blocks the calling thread."""
        filled = [self.settings.filled(rollout) for rollout in rollouts]
        asked = self.settings.deadline_s, self.settings.fallback_reward
        scores = self.source.scores_sync(filled, *asked)
        _accept([score.outcome for score in scores])
        return scores


def connect(**overrides: Any) -> RewardService:
    """The service that the environment names; `overrides` are fields of `ClientSettings`.

    Cheap, and meant to be called for every batch: connections are kept by the process.

    Raises:
        SettingsError: no URL is set, or a setting is wrong.
    """
    settings = load_settings(**overrides)
    return RewardService(settings, source_of(settings))


def signals_of(outcome: Outcome) -> dict[str, float]:
    """One finite float for each of `SIGNALS`, whatever came of the rollout."""
    return dict(FAILED) if isinstance(outcome, ScoreError) else metrics_of(outcome)


def judged(outcome: Outcome) -> ScoreResult:
    """The result that has a reward.

    Raises:
        ScoreError: there is none, for this reason. For trainers that leave out what raises.
    """
    if isinstance(outcome, ScoreError):
        raise outcome
    if outcome.failure is not None:
        raise Unjudged(outcome.failure)
    return outcome


def _accept(outcomes: Sequence[Outcome]) -> None:
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, Refused):
            raise _named(outcome, row) if len(outcomes) > 1 else outcome


def _named(refused: Refused, row: int) -> Refused:
    problem = refused.problem
    numbered = problem.model_copy(update={"message": f"row {row}: {problem.message}"})
    return Refused(numbered, status=refused.status)
