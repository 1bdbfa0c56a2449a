"""What stands in for a reward that could not be had, where a sample cannot be left out. Pure."""

import json
from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from citemark_schemas.rollout import Rollout

_MEMORY: Final = 32
"""Rewards that a mean looks back on, in effect: two or so groups, so that it keeps up with a
policy that is getting better."""


class PromptMeans:
    """Running means of valid rewards, by prompt; who got none for longest is forgotten first.

    One thread adds; any may read. An advantage is a reward less its group's mean, so a sample
    that gets its prompt's mean hardly moves the policy, whereas a zero would push it away from an
    answer that nobody judged.

    Args:
        most: Prompts remembered at most, >= 1.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._means: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def add(self, rollout: Rollout, reward: float) -> None:
        """Remember a reward that was judged (finite)."""
        key = prompt_key(rollout)
        mean, count = self._means.pop(key, (0.0, 0))
        count = min(count + 1, _MEMORY)
        self._means[key] = (mean + (reward - mean) / count, count)
        if len(self._means) > self._most:
            self._means.popitem(last=False)

    def of(self, rollout: Rollout) -> float | None:
        """The mean for the rollout's prompt; None where none of its rewards is known."""
        known = self._means.get(prompt_key(rollout))
        return None if known is None else known[0]


def prompt_key(rollout: Rollout) -> bytes:
    """Equal for the samples of one prompt in one run: what their rewards are compared within."""
    fields = {"run", "group"} if rollout.group is not None else _ASKED
    # As JSON, in which a field's end cannot be mistaken for another's start.
    text = json.dumps(rollout.model_dump(include=fields), ensure_ascii=False)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


_ASKED: Final = {
    "run",
    "question",
    "tool_output",
    "snippets",
    "positive_rubrics",
    "negative_rubrics",
    "rubrics",
}
