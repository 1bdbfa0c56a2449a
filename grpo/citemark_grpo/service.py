"""What the trainers' callables share: rows and answers into rollouts, outcomes or scores out.

A trainer's module holds what its contract says: what it passes, what it takes for a reward, where
metrics go. The deadline, refusals and the mean that stands in for a missing reward are here.

Every callable raises `EnvelopeError` where a row makes no rollout (the message names its place and
field), `Refused` where the service does not take a rollout or the token, and `SettingsError` where
no URL is set or a setting is wrong: all mistakes that going on would only hide.
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

_OF_THE_CALLER = (401, 403, 404)
"""Refusals of the token or the URL, which are no row's fault."""


@dataclass(frozen=True, slots=True)
class RewardService:
    """A service, the settings of the calls to it, and what stands in where it cannot answer."""

    settings: ClientSettings
    source: Source

    async def outcomes(self, rollouts: Sequence[Rollout], step: int | None = None) -> list[Outcome]:
        """One outcome for each rollout, in order.

        Raises:
            Refused: the service takes a rollout, or the caller, for wrong: a mistake in the data
                or the configuration, which going on would only hide.
        """
        filled = [self.settings.fill(rollout, step) for rollout in rollouts]
        call = self.source.gatherer.outcomes(filled, self.settings.deadline_s)
        outcomes = await asyncio.wrap_future(self.source.submit(call))
        _raise_refusal(outcomes)
        return outcomes

    async def scores(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`outcomes` for trainers that cannot leave a sample out: a number for each, which is the
        mean of the same prompt's rewards, else `fallback_reward`, where nobody judged it."""
        scores = await asyncio.wrap_future(self._submit(rollouts))
        _raise_refusal([score.outcome for score in scores])
        return scores

    def scores_sync(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """`scores` for code without an event loop; blocks the calling thread."""
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
    """The service that the environment names; `overrides` are fields of `ClientSettings`.

    Cheap, and meant to be called for every batch: connections are kept by the process.

    Raises:
        SettingsError: no URL is set, or a setting is wrong.
    """
    settings = load_settings(**overrides)
    return RewardService(settings, source_of(settings))


def to_rollout(
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
        completion: A text, in which the chat template's tokens do no harm; or a conversation, of
            which the last reply is judged, with what tools answered as sources.
        prompt: Text or messages; may hold question and sources.
        tools: Messages of tools that stand apart from the completion.
        finish_reason: How the answer ended, where the row does not say.

    Raises:
        EnvelopeError: the row makes no rollout; the message names its place and field.
    """
    if isinstance(completion, str):
        response = unwrap_response(completion, prompt)
    else:
        response, tools = reply_in(completion), completion
    rollout = rollout_of(places, response=response, prompt=prompt, tool_output=tools_in(tools))
    if finish_reason is None or rollout.finish_reason is not None:
        return rollout
    return rollout.model_copy(update={"finish_reason": finish_reason})


def _raise_refusal(outcomes: Sequence[Outcome]) -> None:
    for row, outcome in enumerate(outcomes):
        if not isinstance(outcome, Refused):
            continue
        if len(outcomes) == 1 or outcome.status in _OF_THE_CALLER:
            raise outcome
        message = f"row {row}: {outcome.problem.message}"
        problem = outcome.problem.model_copy(update={"message": message})
        raise Refused(problem, status=outcome.status)
