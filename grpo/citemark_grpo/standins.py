"""What stands in for a reward that was not to be had: what the prompt's other rollouts were worth.

For trainers that cannot leave a sample out. Lives on one event loop.
"""

import asyncio
import time

from citemark_grpo.outcome import Outcome, reward_of
from citemark_schemas import Knobs, Rollout
from citemark_schemas.means import PromptMeans, prompt_key


class StandIns:
    """Remembers what was judged, by prompt, and knows what is being judged now."""

    def __init__(self) -> None:
        self._means = PromptMeans()
        self._judging: dict[bytes, set[asyncio.Future[Outcome]]] = {}

    def watch(self, rollout: Rollout, outcome: asyncio.Future[Outcome]) -> None:
        """Learn from a rollout once its outcome is there."""
        prompt = _prompt(rollout)
        self._judging.setdefault(prompt, set()).add(outcome)
        outcome.add_done_callback(lambda done: self._settled(prompt, done))

    def _settled(self, prompt: bytes, done: asyncio.Future[Outcome]) -> None:
        self._judging[prompt].discard(done)
        if not self._judging[prompt]:
            del self._judging[prompt]
        if done.cancelled() or done.exception() is not None:
            return
        reward = reward_of(done.result())
        if reward is not None:
            self._means.add(prompt, reward)

    async def mean(self, rollout: Rollout, ends_at: float) -> float | None:
        """The mean of the prompt's rewards, once no rollout of it is being judged any more.

        None where none is known. Waits until `ends_at` at most (`time.monotonic()`), because the
        samples of a prompt come together, and one that fails may well be the first to end.
        """
        prompt = _prompt(rollout)
        while (judging := self._judging.get(prompt)) and (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.wait(judging, timeout=left_s)
        return self._means.of(prompt)


def _prompt(rollout: Rollout) -> bytes:
    """By the knobs that this client sends: the service's own are the same for all."""
    return prompt_key(rollout, Knobs.resolve(rollout))
