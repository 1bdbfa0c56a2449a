"""A result as the flat numbers that trainers log and dashboards draw. Pure."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from math import fsum
from statistics import fmean
from typing import Final

from citemark_schemas.score import ScoreResult

SIGNALS: Final = (
    "reward_std",
    "rubric_reward",
    "citation_f1",
    "citation_recall",
    "citation_precision",
    "claims",
    "uncited_facts",
    "fabricated_ids",
    "format_bonus",
    "refused",
    "judge_failed",
)
"""The keys of `metrics_of`, in order. Trainers read them off the first sample and expect them of
every other one, so the set never depends on a result."""


def metrics_of(result: ScoreResult) -> dict[str, float]:
    """One finite float for each of `SIGNALS`; what was not judged, or is not known, is 0.0.

    `judge_failed` is 1.0 where the result has no reward: its other judged numbers say nothing.
    """
    citation = result.citation
    values = {
        "reward_std": result.reward_std,
        "rubric_reward": result.rubric_reward,
        "citation_f1": citation and citation.f1,
        "citation_recall": citation and citation.recall,
        "citation_precision": citation and citation.precision,
        "claims": citation and citation.claims,
        "uncited_facts": citation and citation.uncited_factual,
        "fabricated_ids": citation and citation.fabricated,
        "format_bonus": result.format.bonus,
        "refused": result.refusal is not None,
        "judge_failed": result.failure is not None,
    }
    return {name: float(values[name] or 0.0) for name in SIGNALS}


def group_noise(samples: Iterable[tuple[Hashable, float | None, float | None]]) -> float | None:
    """The share of the variance within groups, at most 1, that the judge's own noise makes.

    It is the mean of `reward_std`² over the sample variance (divisor n - 1) of the rewards, pooled
    over the groups. At 1 the spread is not above the noise; None where there is neither, or where
    no group has two samples of which both numbers are known.

    Args:
        samples: Of each its group, reward and `reward_std`.
    """
    groups: defaultdict[Hashable, list[tuple[float, float]]] = defaultdict(list)
    for group, reward, std in samples:
        if reward is not None and std is not None:
            groups[group].append((reward, std))
    squares, noise, freedom = 0.0, list[float](), 0
    for known in groups.values():
        if len(known) > 1:
            centre = fmean(reward for reward, _ in known)
            squares += fsum((reward - centre) ** 2 for reward, _ in known)
            noise += [std**2 for _, std in known]
            freedom += len(known) - 1
    if not squares and not any(noise):
        return None
    expected = fmean(noise) * freedom
    return expected / squares if expected < squares else 1.0
