"""What the trainers' callables share: rows and answers in, outcomes or scores out.

Every callable raises `EnvelopeError` where a row makes no rollout (the message names its place and
field), `Refused` where the service refuses a rollout or the token, and `SettingsError` where no URL
is set or a setting is wrong.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from citemark_grpo.errors import Refused
from citemark_grpo.outcome import Outcome, Score
from citemark_grpo.settings import ClientSettings, load_settings
from citemark_grpo.source import Source, source_of
from citemark_schemas import Rollout, reply_in, rollout_of, tools_in, unwrap_response

# Refusals of the token or the URL, which no row caused.
_OF_THE_CALLER = (401, 403, 404)


@dataclass(frozen=True, slots=True)
class RewardService:
    settings: ClientSettings
    source: Source

    def to_rollout(
        self,
        places: Mapping[str, object],
        completion: str | Sequence[Mapping[str, Any]],
        *,
        prompt: object = None,
        tools: object = (),
        finish_reason: str | None = None,
    ) -> Rollout:
        """The rollout of a trainer's row and its policy's answer.

        Args:
            places: Where row data may be, by name, strongest first; see `rollout_of`.
            completion: A text, with or without tokens of the chat template; or a conversation,
                whose last reply is judged, with its tool messages as sources.
            prompt: Text or messages; may hold question and sources.
            tools: Tool messages that are not in the completion.
            finish_reason: Used where the row has none.
        """
        if isinstance(completion, str):
            response = unwrap_response(completion, prompt)
        else:
            response, tools = reply_in(completion), completion
        rollout = rollout_of(
            places,
            response=response,
            prompt=prompt,
            tool_output=tools_in(tools),
            ignored_rubric_keys=self.settings.ignored_rubric_keys,
        )
        if finish_reason is None or rollout.finish_reason is not None:
            return rollout
        return rollout.model_copy(update={"finish_reason": finish_reason})

    async def outcomes(self, rollouts: Sequence[Rollout], step: int | None = None) -> list[Outcome]:
        """One outcome for each rollout, in order. Raises `Refused` if any is refused."""
        filled = [self.settings.fill(rollout, step) for rollout in rollouts]
        call = self.source.gatherer.outcomes(filled, self.settings.deadline_s)
        outcomes = await asyncio.wrap_future(self.source.submit(call))
        _raise_refusal(outcomes)
        return outcomes

    async def scores(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`outcomes` for trainers that cannot leave a sample out; see `Gatherer.scores`."""
        scores = await asyncio.wrap_future(self._submit(rollouts))
        _raise_refusal([score.outcome for score in scores])
        return scores

    def scores_sync(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Blocking `scores`."""
        future = self._submit(rollouts)
        try:
            scores = future.result()
        finally:
            future.cancel()  # an interrupt may have come instead of the result
        _raise_refusal([score.outcome for score in scores])
        return scores

    def _submit(self, rollouts: Sequence[Rollout]) -> Future[list[Score]]:
        given, filled = self.settings, [self.settings.fill(rollout) for rollout in rollouts]
        return self.source.submit(
            self.source.gatherer.scores(filled, given.deadline_s, given.fallback_reward)
        )


def connect(**overrides: Any) -> RewardService:
    """The service of the environment and of `overrides`, which are fields of `ClientSettings`.

    Cheap enough for every batch: the process keeps the connections. Raises `SettingsError`.
    """
    settings = load_settings(**overrides)
    return RewardService(settings, source_of(settings))


def _raise_refusal(outcomes: Sequence[Outcome]) -> None:
    for row, outcome in enumerate(outcomes):
        if not isinstance(outcome, Refused):
            continue
        # A number adds nothing to a single row, and no row caused the others.
        if len(outcomes) == 1 or outcome.status in _OF_THE_CALLER:
            raise outcome
        message = f"row {row}: {outcome.problem.message}"
        problem = outcome.problem.model_copy(update={"message": message})
        raise Refused(problem, status=outcome.status)
