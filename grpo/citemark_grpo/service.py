"""The reward service as the trainers' callables see it: rollouts in, outcomes or scores out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from citemark_grpo.errors import Refused
from citemark_grpo.outcome import Outcome, Score
from citemark_grpo.settings import ClientSettings, load_settings
from citemark_grpo.source import Source, source_of
from citemark_schemas import Rollout

_OF_THE_CALLER = (401, 403, 404)
"""What is refused for its token or its URL is no row's fault."""


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
        return _taken(await self.source.scores(*self._asked(rollouts)))

    def scores_sync(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`scores` for code without an event loop; blocks the calling thread."""
        return _taken(self.source.scores_sync(*self._asked(rollouts)))

    def _asked(self, rollouts: Sequence[Rollout]) -> tuple[list[Rollout], float, float]:
        """The arguments of `Source.scores`."""
        filled = [self.settings.filled(rollout) for rollout in rollouts]
        return filled, self.settings.deadline_s, self.settings.fallback_reward


def connect(**overrides: Any) -> RewardService:
    """The service that the environment names; `overrides` are fields of `ClientSettings`.

    Cheap, and meant to be called for every batch: connections are kept by the process.

    Raises:
        SettingsError: no URL is set, or a setting is wrong.
    """
    settings = load_settings(**overrides)
    return RewardService(settings, source_of(settings))


def _taken(scores: list[Score]) -> list[Score]:
    _accept([score.outcome for score in scores])
    return scores


def _accept(outcomes: Sequence[Outcome]) -> None:
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, Refused):
            of_all = len(outcomes) == 1 or outcome.status in _OF_THE_CALLER
            raise outcome if of_all else _named(outcome, row)


def _named(refused: Refused, row: int) -> Refused:
    problem = refused.problem
    numbered = problem.model_copy(update={"message": f"row {row}: {problem.message}"})
    return Refused(numbered, status=refused.status)
