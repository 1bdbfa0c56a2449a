"""What stands in for a judgement that failed: what the prompt's other rollouts were worth."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from citemark_schemas import Knobs, Rollout
from citemark_schemas.means import PromptMeans, prompt_key

_KNOBS: Final = 16
"""Tables of knobs whose means are remembered: rewards under different ones do not compare."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What rollouts share whose rewards compare; nothing that the policy wrote is in it."""

    key: bytes
    knobs: Knobs

    @classmethod
    def of(cls, rollout: Rollout, knobs: Knobs) -> "Prompt":
        """The prompt of a rollout that is judged under `knobs`, all layers merged."""
        return cls(prompt_key(rollout), knobs)


class _Siblings:
    """The rollouts of one prompt that are being judged."""

    def __init__(self) -> None:
        self.count = 0
        self.settled = asyncio.Event()


class StandIns:
    """Knows what each prompt's rollouts were worth and whether some are still being judged.

    A rollout whose judgement failed waits for those: so a failure in the middle of a group costs
    the group no spread that its verdicts do not have.
    """

    def __init__(self, *, constant: float) -> None:
        """`constant` stands in where no rollout of the prompt has a reward."""
        self._constant = constant
        self._means = lru_cache(maxsize=_KNOBS)(lambda _: PromptMeans())
        self._judging: dict[Prompt, _Siblings] = {}

    @contextmanager
    def judging(self, prompt: Prompt) -> Iterator[None]:
        """Judge a rollout of this prompt inside."""
        siblings = self._judging.setdefault(prompt, _Siblings())
        siblings.count += 1
        try:
            yield
        finally:
            siblings.count -= 1
            if not siblings.count:
                del self._judging[prompt]
                siblings.settled.set()

    def add(self, rollout: Rollout, knobs: Knobs, reward: float) -> None:
        """A rollout has its reward."""
        self._means(knobs).add(rollout, reward)

    async def reward(self, rollout: Rollout, knobs: Knobs, deadline: float) -> float:
        """What stands in for a rollout, once no other of its prompt is being judged.

        Waits no longer than until `deadline`, in `time.monotonic()`. Call it outside `judging`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._settled(Prompt.of(rollout, knobs))
        mean = self._means(knobs).of(rollout)
        return self._constant if mean is None else mean

    async def _settled(self, prompt: Prompt) -> None:
        while prompt in self._judging:
            await self._judging[prompt].settled.wait()
