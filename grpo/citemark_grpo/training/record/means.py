"""A step's rollouts as flat numbers, under a bounded set of names. Pure.

Titles of criteria come from data sets, any number of them and any text. Those of the static set
get a metric of their own at once, those of rows when they return with another question; all others
count in the means by source and polarity alone.
"""

import hashlib
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from citemark_grpo.training.record.judged import JudgedRollout, rewards_of
from citemark_schemas import SIGNALS, RubricScore, Source, metrics_of

_NAME_LENGTH: Final = 48
_REMEMBERED: Final = 4096
_OTHER: Final = re.compile(r"[^a-z0-9]+")


def metric_name(title: str) -> str:
    """A title as part of a metric's name: at most 48 of a-z, 0-9 and `_`, never empty."""
    plain = unicodedata.normalize("NFKD", title[: 4 * _NAME_LENGTH]).lower()
    ascii_only = plain.encode("ascii", "ignore").decode()
    name = _OTHER.sub("_", ascii_only).strip("_")[:_NAME_LENGTH].rstrip("_")
    return (
        name
        or f"title_{hashlib.blake2b(title.encode(errors='replace'), digest_size=4).hexdigest()}"
    )


class RubricNames:
    """Which titles have a metric of their own; at most `limit` (>= 0) ever do."""

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._own: set[str] = set()
        self._met: dict[str, str] = {}

    def name(self, rubric: RubricScore, question: str) -> str | None:
        """The name for this criterion of this question, None where it has none (yet)."""
        name = metric_name(rubric.title)
        if name not in self._own and self._returns(name, rubric.source, question):
            self._own.add(name)
        return name if name in self._own else None

    def _returns(self, name: str, source: Source, question: str) -> bool:
        if len(self._own) >= self._limit:
            return False
        if source is Source.STATIC:
            return True
        if name not in self._met and len(self._met) < _REMEMBERED:
            self._met[name] = question
        return self._met.get(name, question) != question


def step_means(rollouts: Sequence[JudgedRollout], names: RubricNames) -> dict[str, float]:
    """Means over one step's rollouts (>= 0 of them); failed ones count in `failure_rate` only.

    `score/reward` is the reward before the verification scale. Where nothing was judged, there is
    no mean, and the key is left out rather than set to 0.
    """
    if not rollouts:
        return {}
    rewards = [reward for reward in rewards_of(rollouts) if reward is not None]
    found = {"score/failure_rate": 1 - len(rewards) / len(rollouts)}
    if rewards:
        found["score/reward"] = statistics.fmean(rewards)
        found["score/reward_std"] = statistics.pstdev(rewards)
    return found | _signals(rollouts) | _rubrics(rollouts, names)


def _signals(rollouts: Sequence[JudgedRollout]) -> dict[str, float]:
    judged = [metrics_of(r.result) for r in rollouts if r.result and r.result.failure is None]
    if not judged:
        return {}
    kept = [name for name in SIGNALS if name != "judge_failed"]
    return {f"score/{name}": statistics.fmean(each[name] for each in judged) for name in kept}


def _rubrics(rollouts: Sequence[JudgedRollout], names: RubricNames) -> dict[str, float]:
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for rollout, rubric in _scored(rollouts):
        scores[f"{rubric.source.value}_{rubric.polarity.value}"].append(rubric.score)
        if name := names.name(rubric, rollout.question):
            scores[name].append(rubric.score)
    return {f"rubric/{name}": statistics.fmean(each) for name, each in sorted(scores.items())}


def _scored(rollouts: Sequence[JudgedRollout]) -> Iterable[tuple[JudgedRollout, RubricScore]]:
    return (
        (rollout, rubric)
        for rollout in rollouts
        if rollout.result is not None
        for rubric in rollout.result.rubrics
    )
