"""Rewards for open-instruct, as a verifier.

    export CITEMARK_URL=http://HOST:8000
    python -m citemark_grpo.open_instruct open_instruct/grpo_fast.py … --verification_reward 10.0

instead of `python open_instruct/grpo_fast.py …`: open-instruct finds verifiers among the subclasses
that are imported. Rows name it as `dataset: citemark`; `--remap_verifier
rubric=citemark` sends those of its own verifier `rubric` here as well.

Rubrics, question and tool output are in `ground_truth`, as an object or JSON text, in the shape
of open-instruct's own rubric rows too; question and sources may be in the prompt. The reward is
multiplied by `--verification_reward`, so leave Citemark's knob of that name at 1. open-instruct
cannot leave a sample out, so a failed judge gives the running mean of the same prompt's rewards,
else `fallback_reward`; it has no place for metrics, so `reasoning` and the log say so. A malformed
row raises.
"""

from typing import Any

from open_instruct.ground_truth_utils import VerificationResult, VerifierConfig, VerifierFunction

from citemark_grpo.outcome import Score, shortfall
from citemark_grpo.service import connect


class CitemarkVerifier(VerifierFunction):  # type: ignore[misc]  # not installed with mypy
    """The verifier `citemark`; scores have the service's scale, [0, 1.2] by default."""

    def __init__(self, verifier_config: VerifierConfig | None = None) -> None:
        super().__init__("citemark", weight=1.0, verifier_config=verifier_config)

    def __call__(
        self,
        tokenized_prediction: list[int],  # noqa: ARG002  open-instruct passes all by name
        prediction: str,
        label: Any,
        query: str | None = None,
        **rollout: Any,  # noqa: ARG002  newer versions pass the rollout's state as well
    ) -> VerificationResult:
        """Blocking `async_call`."""
        service = connect()
        made = service.to_rollout({"ground_truth": label}, prediction, prompt=query)
        return _to_result(*service.scores_sync([made]))

    async def async_call(
        self,
        tokenized_prediction: list[int],  # noqa: ARG002  open-instruct passes all by name
        prediction: str,
        label: Any,
        query: str | None = None,
        **rollout: Any,  # noqa: ARG002  newer versions pass the rollout's state as well
    ) -> VerificationResult:
        service = connect()
        made = service.to_rollout({"ground_truth": label}, prediction, prompt=query)
        return _to_result(*await service.scores([made]))


def _to_result(score: Score) -> VerificationResult:
    reason = shortfall(score.outcome)
    reasoning = None if reason is None else f"judge_failed: {reason}"
    return VerificationResult(score=score.reward, reasoning=reasoning)
