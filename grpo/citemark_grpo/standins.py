"""What stands in for a reward that was not to be had: what the prompt's other rollouts were worth.

For trainers that cannot leave a sample out. Lives on one event loop.
"""

import asyncio
import time
from functools import lru_cache

from citemark_grpo.errors import ScoreError
from citemark_schemas import Knobs, Rollout, ScoreResult
from citemark_schemas.means import PromptMeans, prompt_key

Outcome = ScoreResult | ScoreError
"""What became of one rollout: what the service said, or why it said nothing."""

_KNOBS = 16
"""Tables of knobs whose means are remembered: rewards under different ones do not compare."""


class StandIns:
    """Remembers what was judged, by prompt, and knows what is being judged now."""

    def __init__(self) -> None:
        self._means = lru_cache(maxsize=_KNOBS)(lambda _: PromptMeans())
        self._judging: dict[bytes, set[asyncio.Future[Outcome]]] = {}

    def watch(self, rollout: Rollout, outcome: asyncio.Future[Outcome]) -> None:
        """Learn from a rollout once its outcome is there."""
        key = prompt_key(rollout)
        self._judging.setdefault(key, set()).add(outcome)
        outcome.add_done_callback(lambda done: self._settled(key, rollout, done))

    def _settled(self, key: bytes, rollout: Rollout, done: asyncio.Future[Outcome]) -> None:
        self._judging[key].discard(done)
        if not self._judging[key]:
            del self._judging[key]
        if done.cancelled() or done.exception() is not None:
            return
        outcome = done.result()
        if isinstance(outcome, ScoreResult) and outcome.reward is not None:
            self._means(Knobs.resolve(rollout)).add(rollout, outcome.reward)

    async def mean(self, rollout: Rollout, ends_at: float) -> float | None:
        """The mean of the prompt's rewards, once no rollout of it is being judged any more.

        None where none is known. Waits until `ends_at` at most (`time.monotonic()`), because the
        samples of a prompt come together, and one that fails may well be the first to end.
        """
        key = prompt_key(rollout)
        while (siblings := self._judging.get(key)) and (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.wait(siblings, timeout=left_s)
        return self._means(Knobs.resolve(rollout)).of(rollout)
