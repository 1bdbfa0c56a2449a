"""TRL's GRPOTrainer, told how a completion ended and when too little was judged."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

from citemark_grpo.training.errors import JudgementsMissing
from citemark_grpo.training.survival.trainer import SurvivingTrainer

_SHOWN: Final = 3


class RefinerTrainer(SurvivingTrainer):
    """GRPOTrainer that survives, with one addition on either side of the reward.

    Args:
        max_failed_share: Share of a step's rollouts without a reward, in [0, 1], above which the
            run stops with `JudgementsMissing` before it learns from the step.
        failures: Why rollouts of the last batch have no reward, on this process.
        rest: As SurvivingTrainer's.
    """

    def __init__(
        self,
        *rest: Any,
        max_failed_share: float,
        failures: Callable[[], Counter[str]],
        **named: Any,
    ) -> None:
        super().__init__(*rest, **named)
        self._max_failed_share = max_failed_share
        self._failures = failures

    def _calculate_rewards(
        self,
        inputs: Sequence[Mapping[str, Any]],
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids_list: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """Rewards of all processes, (rollouts, functions); NaN where there is none."""
        ended = [
            {**row, "finish_reason": self._finish_reason(ids)}
            for row, ids in zip(inputs, completion_ids_list, strict=True)
        ]
        rewards: torch.Tensor = super()._calculate_rewards(
            ended, prompts, completions, completion_ids_list
        )
        self._refuse_mostly_failed(rewards)
        return rewards

    def _finish_reason(self, ids: Sequence[int]) -> str:
        """`stop` where the policy ended its turn, `length` where it was cut."""
        return "stop" if ids and ids[-1] in self.eos_token_ids else "length"

    def _refuse_mostly_failed(self, rewards: torch.Tensor) -> None:
        # The rewards are gathered already, so that every process comes to the same decision.
        failed = int(torch.isnan(rewards).all(dim=1).sum())
        if failed <= self._max_failed_share * len(rewards):
            return
        reasons = "; ".join(f"{n} x {why}" for why, n in self._failures().most_common(_SHOWN))
        raise JudgementsMissing(
            f"after {self.state.global_step} steps {failed} of {len(rewards)} rollouts have no "
            f"reward, more than --max_failed_share {self._max_failed_share:g} allows"
            f" ({reasons or 'on other processes'}). Nothing was learnt from them. Mend the "
            "judge; the same command with --resume auto goes on from the last checkpoint."
        )
