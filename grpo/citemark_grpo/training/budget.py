"""What one optimizer step costs in tokens. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from citemark_grpo.training.plan import Batch, RowRules


@dataclass(frozen=True, slots=True)
class Lengths:
    """Prompt lengths of the rows that are left, in tokens."""

    mean: float
    median: int
    p95: int
    longest: int

    @classmethod
    def of(cls, tokens: Sequence[int]) -> "Lengths":
        """Of at least one prompt; percentiles by nearest rank."""
        ordered = sorted(tokens)
        return cls(
            mean=sum(ordered) / len(ordered),
            median=_ranked(ordered, 0.5),
            p95=_ranked(ordered, 0.95),
            longest=ordered[-1],
        )


@dataclass(frozen=True, slots=True)
class StepBudget:
    """Tokens of one optimizer step over all processes, and how they are cut up."""

    rollouts: int
    prompt_bound: int
    """Where every prompt were as long as a row may be."""
    response_bound: int
    prompt_expected: int
    """By the mean length of the rows."""
    micro_batches: int
    """Forward and backward passes of one process."""
    micro_batch_bound: int
    """Most tokens in one of them, padding included."""

    @property
    def bound(self) -> int:
        """No step has more tokens."""
        return self.prompt_bound + self.response_bound

    @property
    def expected_bound(self) -> int:
        """With the data's mean prompt and responses of full length."""
        return self.prompt_expected + self.response_bound


def step_budget(batch: Batch, rules: RowRules, lengths: Lengths) -> StepBudget:
    """The budget of one step for rows of those lengths."""
    longest = longest_prompt(rules)
    return StepBudget(
        rollouts=batch.rollouts,
        prompt_bound=batch.rollouts * longest,
        response_bound=batch.rollouts * rules.response_tokens,
        prompt_expected=round(batch.rollouts * lengths.mean),
        micro_batches=batch.rollouts // (batch.sequences * batch.world_size),
        micro_batch_bound=batch.sequences * (longest + rules.response_tokens),
    )


def longest_prompt(rules: RowRules) -> int:
    """Tokens of the longest prompt that the rules let through."""
    return min(rules.max_prompt_tokens, rules.max_tokens - rules.response_tokens)


def _ranked(ordered: Sequence[int], share: float) -> int:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
