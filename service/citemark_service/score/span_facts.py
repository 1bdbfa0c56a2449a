"""What the span of a rollout says. Pure."""

from citemark_schemas import ScoreResult
from citemark_service.ledger.entry import Entry
from citemark_service.telemetry.traces import Attributes


def rollout_facts(entry: Entry) -> Attributes:
    """Which rollout it was and what came of it: ids, kinds and numbers, none of its text."""
    result, usage = entry.result, entry.result.judge
    return {
        "citemark.rollout": result.id,
        "citemark.rollout_hash": result.rollout_hash,
        "citemark.run": entry.run,
        "citemark.step": entry.step,
        "citemark.group": entry.rollout.group,
        "citemark.outcome": _outcome(result),
        "citemark.reward": result.reward,
        "citemark.cached": result.cached,
        "citemark.judge_calls": usage.calls,
        "gen_ai.request.model": usage.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
    }


def _outcome(result: ScoreResult) -> str:
    if result.failure is not None:
        return result.failure.kind.value
    return "scored" if result.refusal is None else result.refusal.kind.value
