"""Which results of an earlier run still stand: those of the same rollouts, made in the same way."""

from collections.abc import Mapping
from dataclasses import dataclass

from citemark_schemas import Knobs, ScoreResult, Versions
from citemark_service.errors import DataError

Facts = Mapping[str, object]
"""How a reward is made, by what it is called on the command line: knobs, judge and versions."""


class StaleResult(DataError):
    """The file has a result of this id that this run would not have made; says why."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a result was made of, or will be as far as that is known."""

    rollout_hash: str
    facts: Facts


def facts_of(knobs: Knobs, model: str, versions: Versions) -> Facts:
    """Everything that must be equal for two rewards of one rollout to be comparable."""
    return {
        **knobs.model_dump(),
        "judge model": model,
        "service version": versions.service,
        "scoring version": versions.scoring,
        "prompts version": versions.prompts,
        "static rubrics version": versions.static_rubrics,
    }


class Making:
    """Tells how results were made; what many have in common is held once."""

    def __init__(self) -> None:
        self._facts: dict[tuple[Knobs, str, Versions], Facts] = {}

    def of(self, result: ScoreResult) -> Made:
        """What this result records."""
        common = (result.knobs, result.judge.model, result.versions)
        facts = self._facts.get(common)
        if facts is None:
            facts = self._facts[common] = facts_of(*common)
        return Made(result.rollout_hash, facts)


def difference(held: Made, expected: Made) -> str | None:
    """How a result that is held differs from the one expected; None where it stands.

    Only what `expected` has is compared: of a distant service not everything is known.
    """
    if held.rollout_hash != expected.rollout_hash:
        return (
            "for another rollout (question, sources, response, finish_reason or criteria changed)"
        )
    changed = [name for name, value in expected.facts.items() if held.facts[name] != value]
    if not changed:
        return None
    was = ", ".join(f"{name} {held.facts[name]}" for name in changed)
    now = ", ".join(str(expected.facts[name]) for name in changed)
    return f"under {was}, this run has {now}"
