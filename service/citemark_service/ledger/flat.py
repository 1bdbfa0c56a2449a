"""A kept rollout as one flat row, for tables. Pure."""

from datetime import UTC, datetime
from typing import Any, Final

from citemark_schemas import SIGNALS, metrics_of
from citemark_service.ledger.reading import KeptRollout

TEXTS: Final = (
    "run", "group", "id", "at", "finish_reason", "failure", "refusal", "model",
    "service_version", "scoring_version", "prompts_version", "static_rubrics", "rollout_hash",
)  # fmt: skip
NUMBERS: Final = ("reward", "verification_reward", *SIGNALS, "latency_s")
INTEGERS: Final = (
    "seq", "step", "response_chars", "calls", "prompt_tokens", "cached_tokens",
    "completion_tokens",
)  # fmt: skip
FLAGS: Final = ("cached",)
_ALWAYS: Final = {"rubric_reward", "format_bonus", "refused", "judge_failed"}
"""Signals that need no judged citations."""
WHOLE: Final = ("rollout", "result")
"""The columns that hold all the rest; everything else repeats a part of these."""


def flatten(kept: KeptRollout) -> dict[str, Any]:
    """One value for each of the columns above, but for `WHOLE`; None where there is none.

    `reward` is as it was answered, scaled by `verification_reward`; `at` is ISO 8601 in UTC. A
    signal that was not judged is None here, and 0 for trainers.
    """
    result, judge, versions = kept.result, kept.result.judge, kept.result.versions
    signals: dict[str, float | None] = dict(metrics_of(result))
    if result.citation is None:
        signals |= dict.fromkeys(set(SIGNALS) - _ALWAYS)
    return {
        "seq": kept.seq,
        "run": kept.run,
        "step": kept.step,
        "group": kept.group,
        "at": datetime.fromtimestamp(kept.at, UTC).isoformat(),
        "finish_reason": kept.rollout.finish_reason,
        "response_chars": len(kept.rollout.response),
        "id": result.id,
        "reward": result.reward,
        "verification_reward": result.knobs.verification_reward,
        "failure": None if result.failure is None else result.failure.kind.value,
        "refusal": None if result.refusal is None else result.refusal.kind.value,
        "rollout_hash": result.rollout_hash,
        "cached": result.cached,
        "service_version": versions.service,
        "scoring_version": versions.scoring,
        "prompts_version": versions.prompts,
        "static_rubrics": versions.static_rubrics,
        **signals,
        "rubric_reward": result.rubric_reward,
        "model": judge.model,
        "latency_s": judge.latency_s,
        "calls": judge.calls,
        "prompt_tokens": judge.prompt_tokens,
        "cached_tokens": judge.cached_tokens,
        "completion_tokens": judge.completion_tokens,
    }
