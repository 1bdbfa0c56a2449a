"""Citemark as the reward of TRL's GRPOTrainer: one async call for a batch of completions."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from citemark_grpo.client import ScoreClient
from citemark_grpo.errors import Refused, ScoreError
from citemark_grpo.training.plan import Service
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_schemas.transcript import reply_in

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Judged:
    """One call's rollouts and what came of them, in order; on this process only."""

    step: int
    rollouts: Sequence[Rollout]
    results: Sequence[ScoreResult | None]
    """None where the service gave no result at all."""


Metrics = Callable[[Judged], Mapping[str, float]]
"""Looks at what was judged; the numbers that it returns are logged as metrics of the step."""


class PatientScorer:
    """Scores rollouts and waits for a service that is away, as `ScoreClient` does until the
    deadline: `timeout_s` for the judging plus `wait_s` for the absence.

    A judge's failures are the service's to retry and are taken as they are.
    """

    def __init__(
        self,
        service: Service,
        knobs: Knobs,
        *,
        headers: Mapping[str, str] | None = None,
        say_every_s: float = 60.0,
    ) -> None:
        self._say_every_s = say_every_s
        self._service = service
        self._knobs = knobs
        self._headers = headers

    async def results(self, rollouts: Sequence[Rollout]) -> tuple[list[ScoreResult | None], str]:
        """A result for each rollout, None where there is none, and why ("" where all have one).

        Raises:
            Refused: the service finds the request wrong, and would so for ever.
        """
        service = self._service
        watch = asyncio.create_task(self._say_waiting())
        # Opened for a batch: a client lives on one event loop, and the trainer owns the loop.
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

    async def _say_waiting(self) -> None:
        """Log from time to time that the run stands still for its rewards."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(self._say_every_s)
            waited_s = time.monotonic() - began
            _LOG.warning("waiting for rewards from %s since %.0f s", self._service.url, waited_s)


class CitemarkReward:
    """The reward function that TRL calls: one float a completion, None where none was had.

    Args:
        scorer: Asks the service.
        run: The run's name, sent with every rollout.
        observers: Shown every batch; their numbers are logged beside the reward.
    """

    # TRL names its metrics after the function: rewards/citemark/mean.
    __name__ = "citemark"

    def __init__(
        self, scorer: PatientScorer, *, run: str, observers: Sequence[Metrics] = ()
    ) -> None:
        self._scorer = scorer
        self._run = run
        self._observers = tuple(observers)
        self.failures: Counter[str] = Counter()
        """Why rollouts of the last batch have no reward, on this process."""

    async def __call__(
        self,
        *,
        completions: Sequence[Any],
        rollout: Sequence[str],
        finish_reason: Sequence[str],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: object,
    ) -> list[float | None]:
        """Rewards of `completions`; `rollout` is the rows' column, `finish_reason` the trainer's.

        Raises:
            Refused: the service finds the rollouts or the credentials wrong.
        """
        step = int(trainer_state.global_step)
        rollouts = [
            self._answered(text, completion, reason, step, place)
            for place, (text, completion, reason) in enumerate(
                zip(rollout, completions, finish_reason, strict=True)
            )
        ]
        results, trouble = await self._scorer.results(rollouts)
        self.failures = _failures(results, trouble)
        judged = Judged(step, rollouts, results)
        for metrics in self._observers:
            for name, value in metrics(judged).items():
                log_metric(name, value)
        return [result.reward if result is not None else None for result in results]

    def _answered(
        self, text: str, completion: Any, finish_reason: str, step: int, place: int
    ) -> Rollout:
        row = Rollout.model_validate_json(text)
        # Validated as a row; what is filled in here is the trainer's own.
        return row.model_copy(
            update={
                "id": f"{row.group}#{place}",
                "response": response_of(completion),
                "finish_reason": finish_reason,
                "run": self._run,
                "step": step,
            }
        )


def response_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion, which is a string or a conversation that ends with it."""
    return completion if isinstance(completion, str) else reply_in(completion)


def _failures(results: Sequence[ScoreResult | None], trouble: str) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for result in results:
        if result is None:
            reasons[trouble] += 1
        elif result.failure is not None:
            reasons[f"{result.failure.kind.value}: {result.failure.message}"] += 1
    return reasons
