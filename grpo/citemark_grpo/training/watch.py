"""Each step's metrics, journal line, sample page and log line."""

import hashlib
import logging
import re
import time
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, Final

from citemark_grpo.training.journal import Journal, JournalLine, select_finite
from citemark_grpo.training.pages import SamplePages
from citemark_grpo.training.reward import JudgedRollout
from citemark_schemas import SIGNALS, RubricScore, ScoreResult, Source, group_noise, metrics_of

_log: Final = logging.getLogger(__name__)
_NAME_LENGTH: Final = 48
_MOST_REMEMBERED: Final = 4096
_OTHER: Final = re.compile(r"[^a-z0-9]+")
_IN_THE_LOG: Final = {
    "reward": "score/reward",
    "rubrics": "score/rubric_reward",
    "citations": "score/citation_f1",
    "failed": "score/failure_rate",
    "tokens": "completions/mean_length",
    "kl": "kl",
}


def metric_name(title: str) -> str:
    """A title as part of a metric's name: 1 to 48 of a-z, 0-9 and `_`."""
    # Cut before the work on it: a title may have any length.
    plain = unicodedata.normalize("NFKD", title[: 4 * _NAME_LENGTH]).lower()
    ascii_only = plain.encode("ascii", "ignore").decode()
    name = _OTHER.sub("_", ascii_only).strip("_")[:_NAME_LENGTH].rstrip("_")
    digest = hashlib.blake2b(title.encode(errors="replace"), digest_size=4).hexdigest()
    return name or f"title_{digest}"


class RubricNames:
    """Which titles of criteria have a metric of their own; at most `limit` (>= 0) do.

    Data sets bring any number of titles with any text. Those of the static set get a metric at
    once, those of rows when they return with another question.
    """

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._own: set[str] = set()
        self._met: dict[str, str] = {}

    def name(self, rubric: RubricScore, question: str) -> str | None:
        """The metric's name for this criterion, None where it has none (yet)."""
        name = metric_name(rubric.title)
        if name in self._own:
            return name
        if len(self._own) >= self._limit:
            return None
        if rubric.source is not Source.STATIC:
            if name not in self._met and len(self._met) < _MOST_REMEMBERED:
                self._met[name] = question
            if self._met.get(name, question) == question:
                return None
        self._own.add(name)
        return name


def average_step(rollouts: Sequence[JudgedRollout], names: RubricNames) -> dict[str, float]:
    """Means over one step's rollouts; failed ones count in `failure_rate` only.

    `score/reward` is before the verification scale. Keys without a judged rollout are left out.
    """
    if not rollouts:
        return {}
    rewards = [each.unscaled for each in rollouts if each.unscaled is not None]
    means = {"score/failure_rate": 1 - len(rewards) / len(rollouts)}
    if rewards:
        means |= {"score/reward": fmean(rewards), "score/reward_std": pstdev(rewards)}
    known = [metrics_of(r.result) for r in rollouts if r.result and r.result.failure is None]
    if known:
        # `score/reward_std` is the spread of the step's rewards.
        kept = [name for name in SIGNALS if name not in ("judge_failed", "reward_std")]
        means |= {f"score/{name}": fmean(each[name] for each in known) for name in kept}
    judged = ((each.question, each.result) for each in rollouts if each.result)
    noise = group_noise((group, each.reward, each.reward_std) for group, each in judged)
    if noise is not None:
        means["score/group_noise"] = noise
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for rollout in rollouts:
        for rubric in rollout.result.rubrics if rollout.result else ():
            scores[f"{rubric.source.value}_{rubric.polarity.value}"].append(rubric.score)
            if name := names.name(rubric, rollout.question):
                scores[name].append(rubric.score)
    return means | {f"rubric/{name}": fmean(each) for name, each in sorted(scores.items())}


class RunWatch:
    """The record of one run, in the leading process only; `pages_every` counts steps, >= 1."""

    def __init__(self, journal: Journal, pages: SamplePages, *, pages_every: int) -> None:
        self._journal = journal
        self._pages = pages
        self._pages_every = pages_every
        self._names = RubricNames()
        self._step: list[JudgedRollout] = []
        self._logged = 0
        self.last_result: ScoreResult | None = None  # the last with a reward

    def begin(self, step: int) -> None:
        """Rewind the journal to `step`, where training begins or resumes."""
        self._journal.rewind(step)
        self._logged = step

    def add_generation(self, seen: Sequence[JudgedRollout]) -> None:
        """Add the judged rollouts of all processes."""
        self._step.extend(seen)
        for rollout in reversed(self._step):
            if rollout.result and rollout.result.failure is None:
                self.last_result = rollout.result
                return

    def metrics(self) -> Mapping[str, float]:
        """Means over what was generated since the last step."""
        return average_step(self._step, self._names)

    def write_step(self, step: int, logs: Mapping[str, Any]) -> None:
        """Write a step's records."""
        if step <= self._logged:  # a second log of the same step
            return
        self._logged = step
        seen, self._step = self._step, []
        metrics = select_finite(logs)
        self._journal.add(JournalLine(step, time.time(), [each.unscaled for each in seen], metrics))
        if seen and step % self._pages_every == 0:
            self._pages.write(seen, step)
        shown = {name: metrics[key] for name, key in _IN_THE_LOG.items() if key in metrics}
        summary = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
        _log.info("step %d: %s", step, summary)
