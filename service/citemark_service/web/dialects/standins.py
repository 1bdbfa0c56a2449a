"""What stands in for a judgement that failed: what the prompt's other rollouts were worth."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from citemark_schemas.means import PromptMeans


class _Siblings:
    """The rollouts of one prompt that are being judged."""

    def __init__(self) -> None:
        self.count = 0
        self.settled = asyncio.Event()


class StandIns:
    """Knows what each prompt's rollouts were worth and whether some are still being judged.

    A rollout whose judgement failed waits for those: so a failure in the middle of a group costs
    the group no spread that its verdicts do not have. Prompts are told apart by their
    `citemark_schemas.means.prompt_key`.
    """

    def __init__(self, *, constant: float) -> None:
        """`constant` stands in where no rollout of the prompt has a reward."""
        self._constant = constant
        self._means = PromptMeans()
        self._judging: dict[bytes, _Siblings] = {}

    @contextmanager
    def judging(self, prompt: bytes) -> Iterator[None]:
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

    def add(self, prompt: bytes, reward: float) -> None:
        """A rollout of this prompt has its reward."""
        self._means.add(prompt, reward)

    async def reward(self, prompt: bytes, deadline: float) -> float:
        """What stands in for a rollout, once no other of its prompt is being judged.

        Waits no longer than until `deadline`, in `time.monotonic()`. Call it outside `judging`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._settled(prompt)
        mean = self._means.of(prompt)
        return self._constant if mean is None else mean

    async def _settled(self, prompt: bytes) -> None:
        while prompt in self._judging:
            await self._judging[prompt].settled.wait()
