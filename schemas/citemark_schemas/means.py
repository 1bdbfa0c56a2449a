"""What stands in for a reward that could not be had, where a sample cannot be left out."""

import asyncio
import json
import time
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2b
from typing import Final

from citemark_schemas.knobs import Knobs
from citemark_schemas.rollout import Rollout

_MEMORY: Final = 32
"""Rewards that a mean looks back on, in effect: two or so groups, so that it keeps up with a
policy that is getting better."""


class _Judging:
    """The samples of one prompt that are being judged."""

    def __init__(self) -> None:
        self.count = 0
        self.over = asyncio.Event()


class StandIns:
    """Running means of rewards by prompt, and which prompts are being judged. One event loop.

    An advantage is a reward less its group's mean, so a sample that gets its prompt's mean hardly
    moves the policy, whereas a zero would push it away from an answer that nobody judged. That
    holds for the mean of all rewards that the trainer gets, those of refused rollouts included:
    without their zeros a sample that nobody judged would get more than its group's mean, and the
    policy would be drawn to what makes a judge fail.

    Prompts are told apart by their `prompt_key`. The one that got no reward for longest is
    forgotten first.

    Args:
        most: Prompts remembered at most, >= 1.
    """

    def __init__(self, most: int = 16_384) -> None:
        self._most = most
        self._means: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self._judging: dict[bytes, _Judging] = {}

    def begin(self, prompt: bytes) -> None:
        """A sample of this prompt is being judged; `end` must follow."""
        self._judging.setdefault(prompt, _Judging()).count += 1

    def end(self, prompt: bytes, reward: float | None) -> None:
        """A sample that was begun has its reward, or None where it got none."""
        if reward is not None:
            self.add(prompt, reward)
        judging = self._judging[prompt]
        judging.count -= 1
        if not judging.count:
            del self._judging[prompt]
            judging.over.set()

    def add(self, prompt: bytes, reward: float) -> None:
        """Remember a reward, which is finite."""
        mean, count = self._means.pop(prompt, (0.0, 0))
        count = min(count + 1, _MEMORY)
        self._means[prompt] = (mean + (reward - mean) / count, count)
        if len(self._means) > self._most:
            self._means.popitem(last=False)

    def mean_of(self, prompt: bytes) -> float | None:
        """The mean for a prompt; None where none of its rewards is known."""
        known = self._means.get(prompt)
        return None if known is None else known[0]

    async def await_mean(self, prompt: bytes, deadline: float) -> float | None:
        """`mean_of`, once no sample of the prompt is being judged any more.

        The samples of a prompt come together, and one that fails may well be the first to end:
        with the mean of all others it costs its group no spread. Waits until `deadline`, in
        `time.monotonic()`, at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                while prompt in self._judging:
                    await self._judging[prompt].over.wait()
        return self.mean_of(prompt)


def prompt_key(rollout: Rollout, knobs: Knobs, run: str | None = None) -> bytes:
    """Equal for the samples of one prompt whose rewards compare: of one run, under equal knobs.

    Nothing that the policy wrote is in it.

    Args:
        rollout: One of the samples.
        knobs: Those that it is judged under, all layers merged.
        run: Of a rollout that names none.
    """
    rubrics = [(*criterion.key, criterion.weight) for criterion in rollout.criteria]
    # A group is no prompt's name by itself: many trainers count theirs from 0 in every step.
    given = rollout.group or rollout.model_dump(include=_GIVEN)
    asked = (rollout.question, rubrics, given)
    # As JSON, in which a field's end cannot be mistaken for another's start.
    text = json.dumps([rollout.run or run, knobs.model_dump(), asked], ensure_ascii=False)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


_GIVEN: Final = {"conversation", "tool_output", "snippets"}
