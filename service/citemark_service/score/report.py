"""Log lines and span attributes of a scored rollout."""

import logging
from typing import Final

from citemark_service.printable import printable
from citemark_service.score.rollout import ScoredRollout
from citemark_service.telemetry.logs import log_fields
from citemark_service.telemetry.traces import Attributes

_CLIP: Final = 500  # characters

_rollouts = logging.getLogger("citemark.rollouts")
_unjudged = logging.getLogger("citemark.unjudged")


def log_rollout(scored: ScoredRollout, *, texts: bool) -> None:
    """Log a rollout whose judge failed and, with `texts`, every rollout.

    Only with `texts` does the log show rollout text: 500 characters of question and response.
    """
    failure, rollout, reward = scored.result.failure, scored.rollout, scored.result.reward
    if failure is not None:
        _unjudged.warning(
            "no reward: %s: %s",
            failure.kind.value,
            failure.message,
            extra=log_fields(kind=failure.kind.value, retryable=failure.retryable),
        )
    if texts:
        question, response = _clip(rollout.question), _clip(rollout.response)
        _rollouts.info(
            "reward=%s question=%r response=%r",
            reward,
            question,
            response,
            extra=log_fields(
                reward=reward,
                run=scored.run,
                step=scored.step,
                group=rollout.group,
                question=question,
                response=response,
            ),
        )


def rollout_attributes(scored: ScoredRollout) -> Attributes:
    """Span attributes: identity and outcome, without any rollout text."""
    result, usage = scored.result, scored.result.judge
    if result.failure is not None:
        outcome = result.failure.kind.value
    else:
        outcome = "scored" if result.refusal is None else result.refusal.kind.value
    return {
        "citemark.rollout": result.id,
        "citemark.rollout_hash": result.rollout_hash,
        "citemark.run": scored.run,
        "citemark.step": scored.step,
        "citemark.group": scored.rollout.group,
        "citemark.outcome": outcome,
        "citemark.reward": result.reward,
        "citemark.cached": result.cached,
        "citemark.judge_calls": usage.calls,
        "gen_ai.request.model": usage.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }


def _clip(text: str) -> str:
    return printable(text[:_CLIP]) + ("…" if len(text) > _CLIP else "")
