"""What the trainer tells of a run goes to the journal, the metrics, the samples and the log."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from citemark_grpo.training.record.journal import Journal, Line, finite
from citemark_grpo.training.record.judged import JudgedRollout, rewards_of
from citemark_grpo.training.record.means import RubricNames, step_means
from citemark_grpo.training.record.samples import SamplePages
from citemark_schemas import Rollout, ScoreResult

_log: Final = logging.getLogger(__name__)


class Batch(Protocol):
    """What a reward function has judged; on one process."""

    @property
    def rollouts(self) -> Sequence[Rollout]:
        """What was sent."""

    @property
    def results(self) -> Sequence[ScoreResult | None]:
        """What came back, in the same order."""


class RunWatch:
    """The record of one run.

    It is an metrics of the reward function in every process, and gets from the trainer what all
    of them saw; only the leading process writes.

    Args:
        journal: Where every step goes.
        pages: Where samples go, every `pages_every` (>= 1) steps.
        names: Bounds the metrics of single criteria.
    """

    def __init__(
        self,
        journal: Journal,
        pages: SamplePages,
        *,
        pages_every: int,
        names: RubricNames | None = None,
    ) -> None:
        self._journal = journal
        self._pages = pages
        self._pages_every = pages_every
        self._names = names or RubricNames()
        self._mine: list[JudgedRollout] = []
        self._step: list[JudgedRollout] = []
        self._logged = 0
        self.last_result: ScoreResult | None = None
        """The last result with a reward, for the versions that it names."""

    def __call__(self, batch: Batch) -> Mapping[str, float]:
        """Keep what was judged for `drained`; the metrics come from all processes at once."""
        self._mine.extend(
            JudgedRollout(rollout.question, rollout.response, rollout.finish_reason, result)
            for rollout, result in zip(batch.rollouts, batch.results, strict=True)
        )
        return {}

    def drained(self) -> list[JudgedRollout]:
        """What this process has seen since the last call."""
        seen, self._mine = self._mine, []
        return seen

    def begun(self, step: int) -> None:
        """Training begins or resumes with `step` steps done; the journal goes back there."""
        self._journal.rewind(step)
        self._logged = step

    def generated(self, seen: Sequence[Any]) -> None:
        """What all processes saw of one generation."""
        self._step.extend(seen)
        judged = (rollout.result for rollout in reversed(self._step))
        self.last_result = next(
            (result for result in judged if result and result.failure is None), self.last_result
        )

    def metrics(self) -> Mapping[str, float]:
        """Means over what was generated since the last log."""
        return step_means(self._step, self._names)

    def logged(self, step: int, logs: Mapping[str, Any]) -> None:
        """Write what was logged for a step; a second log of the same step is no step of its own."""
        if step <= self._logged:
            return
        self._logged = step
        seen, self._step = self._step, []
        metrics = finite(logs)
        self._journal.add(Line(step, time.time(), rewards_of(seen), metrics))
        if seen and step % self._pages_every == 0:
            self._pages.write(seen, step)
        _log.info("step %d: %s", step, _summary(metrics))


def _summary(metrics: Mapping[str, float]) -> str:
    shown = {
        "reward": "score/reward",
        "rubrics": "score/rubric_reward",
        "citations": "score/citation_f1",
        "failed": "score/failure_rate",
        "tokens": "completions/mean_length",
        "kl": "kl",
    }
    return ", ".join(f"{name} {metrics[key]:.3f}" for name, key in shown.items() if key in metrics)
