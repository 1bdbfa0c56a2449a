"""Citemark as the reward function of TRL's GRPOTrainer."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from citemark_grpo.client import ScoreClient
from citemark_grpo.errors import Refused, ScoreError
from citemark_grpo.outcome import shortfall
from citemark_grpo.training.plan import ServicePatience
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_schemas.transcript import reply_in

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """A rollout and its result; without sources, since processes send it to the first."""

    question: str
    response: str
    finish_reason: str | None
    result: ScoreResult | None
    """None where the service gave none."""

    @property
    def unscaled(self) -> float | None:
        """The reward before `verification_reward`; None where there is none."""
        result = self.result
        if result is None or result.reward is None:
            return None
        # A refusal's reward, 0 or a penalty, is not scaled.
        return result.reward / (1.0 if result.refusal else result.knobs.verification_reward)


class CitemarkReward:
    """The reward function that TRL calls: one float a completion, None where it has no reward.

    Waits for a service that is away; failed judgements are not retried here, the service does that.

    Args:
        token: None for that of the service's URL.
        log_every_s: Seconds between two log lines while it waits for rewards.
    """

    # TRL names its metrics after the function: rewards/citemark/mean.
    __name__ = "citemark"

    def __init__(
        self,
        service: ServicePatience,
        knobs: Knobs,
        *,
        token: str | None = None,
        log_every_s: float = 60.0,
    ) -> None:
        if token is None and service.token is not None:
            token = service.token.get_secret_value()
        self._service = service
        self._knobs = knobs
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._log_every_s = log_every_s
        # Of the last batch, in this process.
        self.judged: Sequence[JudgedRollout] = ()
        self.failures: Counter[str] = Counter()

    async def __call__(
        self,
        *,
        completions: Sequence[Any],
        rollout: Sequence[str],
        finish_reason: Sequence[str],
        trainer_state: Any,
        **_: object,
    ) -> list[float | None]:
        """Rewards of `completions`; `rollout` is the rows' column, `finish_reason` the trainer's.

        Raises `Refused` where the service refuses a rollout or the token.
        """
        rollouts = []
        for place, text in enumerate(rollout):
            row, completion = Rollout.model_validate_json(text), completions[place]
            answer = {
                "id": f"{row.group}#{place}",
                "response": completion if isinstance(completion, str) else reply_in(completion),
                "finish_reason": finish_reason[place],
                "run": self._service.run,
                "step": int(trainer_state.global_step),
            }
            rollouts.append(row.model_copy(update=answer))
        results, trouble = await self._score(rollouts)
        reasons = [trouble if result is None else shortfall(result) for result in results]
        self.failures = Counter(reason for reason in reasons if reason)
        self.judged = [
            JudgedRollout(each.question, each.response, each.finish_reason, result)
            for each, result in zip(rollouts, results, strict=True)
        ]
        return [None if result is None else result.reward for result in results]

    async def _score(self, rollouts: Sequence[Rollout]) -> tuple[list[ScoreResult | None], str]:
        """A result or None for each rollout, and why some are None, else ""."""
        service = self._service
        watch = asyncio.create_task(self._log_waiting())
        # Opened for each batch: a client belongs to one event loop, and that is the trainer's.
        client = ScoreClient(
            service.url, timeout_s=service.timeout_s, attempts=None, headers=self._headers
        )
        try:
            async with client:
                deadline_s = service.timeout_s + service.wait_s
                return [*await client.score(rollouts, self._knobs, deadline_s)], ""
        except Refused:
            raise
        except ScoreError as error:
            return list(error.scored), f"{type(error).__name__}: {error}"
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _log_waiting(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(self._log_every_s)
            waited_s = time.monotonic() - began
            _log.warning("waiting for rewards from %s since %.0f s", self._service.url, waited_s)
