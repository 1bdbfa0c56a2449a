"""The rollouts of one GRPO step: 32 prompts of 8 samples, made of words drawn from a licence.

Every text holds a stamp, so that the same step can be sent again as one that no cache has seen.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPTS = 32
SAMPLES = 8
POSITIVE_RUBRICS = 7
NEGATIVE_RUBRICS = 1
SNIPPETS = 8
SNIPPET_CHARACTERS = 2000
CLAIM_IDS = (1, 1, 2, 1, 2, 1)
"""How many ids each claim of an answer cites."""
QUOTE = "The records that were found agree on the points below"
"""Stands in every answer, so that a scripted judge can quote it."""
NEAR_QUOTE = "The records that were found agreed upon the points below"
"""Nearly the same, as models quote."""

_SEED = 20
_VOCABULARY = Path(__file__).parents[1] / "LICENSE"
_STAMP = "stamp0000000"
# Found text is rarely plain ASCII; one such mark decides how a whole string is stored.
_MARKS = (",", ",", ",", ".", ".", ":", ";", "\n", " –", "’s", "é")
_MARKED = 0.1


@dataclass(frozen=True, slots=True)
class Workload:
    """Rollouts as JSON, with the stamp of the first round."""

    rollouts: tuple[bytes, ...]

    def singles(self, stamp: int) -> list[bytes]:
        """One request body a rollout. Texts with different stamps are different everywhere."""
        fresh = f"stamp{stamp:07d}".encode()
        return [rollout.replace(_STAMP.encode(), fresh) for rollout in self.rollouts]

    def batch(self, stamp: int) -> bytes:
        """The same rollouts as the body of one request."""
        return b'{"items":[' + b",".join(self.singles(stamp)) + b"]}"


def training_step(
    *, prompts: int = PROMPTS, samples: int = SAMPLES, snippet_characters: int = SNIPPET_CHARACTERS
) -> Workload:
    """The rollouts in group order; the same ones each time."""
    words = _Words(random.Random(_SEED))
    groups = (_group(words, samples, snippet_characters) for _ in range(prompts))
    texts = (json.dumps(rollout, ensure_ascii=False) for group in groups for rollout in group)
    return Workload(tuple(text.encode() for text in texts))


class _Words:
    """Random text that a tokenizer cuts like English."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._vocabulary = sorted(set(re.findall("[a-z]+", _VOCABULARY.read_text().lower())))

    def phrase(self, count: int) -> str:
        """The stamp and `count` words."""
        return " ".join([_STAMP, *self._dice.choices(self._vocabulary, k=count)])

    def snippet(self, characters: int) -> str:
        """The stamp and prose of exactly so many characters."""
        pieces = [_STAMP]
        for word in self._dice.choices(self._vocabulary, k=characters // 2):
            mark = self._dice.choice(_MARKS) if self._dice.random() < _MARKED else ""
            pieces.append(word + mark)
        return " ".join(pieces)[: characters - 1] + "."

    def ids(self, count: int) -> list[str]:
        """Snippet ids as search tools make them."""
        return [f"S_{self._dice.getrandbits(32):08x}" for _ in range(count)]

    def chosen(self, ids: list[str], count: int) -> str:
        """Distinct ids as a claim writes them."""
        return ",".join(self._dice.sample(ids, count))


def _group(words: _Words, samples: int, characters: int) -> Iterator[dict[str, Any]]:
    """Samples that share a question, its tool output and its rubrics, each with its own answer."""
    ids = words.ids(SNIPPETS)
    texts = (f"<snippet id={name}>{words.snippet(characters)}</snippet>" for name in ids)
    shared = {
        "question": f"What is known of {words.phrase(12)}?",
        "tool_output": "\n".join(texts),
        "positive_rubrics": [words.phrase(16) for _ in range(POSITIVE_RUBRICS)],
        "negative_rubrics": [words.phrase(16) for _ in range(NEGATIVE_RUBRICS)],
    }
    for _ in range(samples):
        yield {**shared, "response": _response(words, ids), "finish_reason": "stop"}


def _response(words: _Words, ids: list[str]) -> str:
    claims = (
        f"<snippet id={words.chosen(ids, count)}>It is said that {words.phrase(14)}.</snippet>"
        for count in CLAIM_IDS
    )
    first, last = f"{QUOTE}: {words.phrase(8)}.", f"In sum, {words.phrase(16)}."
    return "<answer>" + " ".join([first, *claims, last]) + "</answer>"
