"""Two judges on the same rollouts, criterion by criterion. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from citemark_schemas import ScoreResult
from citemark_service.agreement.figures import FIXED_THRESHOLD, LabelledScore, kappa

CLAIM_SUPPORT = "claim support"
"""What the verdicts on claims stand under, beside the titles of criteria."""


@dataclass(frozen=True, slots=True)
class RubricAgreement:
    """How often two judges say the same of one criterion."""

    title: str
    pairs: int
    """Rollouts, or claims, that both judged."""
    kappa: float | None
    """Cohen's kappa of both cut at 0.5, in [-1, 1]; None where both are one class."""
    difference: float
    """Mean of new minus old, in [-1, 1]; before the flip of a negative criterion."""
    flips: int
    """Verdicts on the other side of 0.5."""


def rubric_agreements(pairs: Iterable[tuple[ScoreResult, ScoreResult]]) -> list[RubricAgreement]:
    """Every criterion's agreement, the least first; of results whose judge failed, nothing."""
    verdicts: dict[str, list[tuple[float, float]]] = {}
    for old, new in pairs:
        for title, both in _both(old, new):
            verdicts.setdefault(title, []).append(both)
    found = [_agreement(title, values) for title, values in verdicts.items()]
    return sorted(found, key=lambda each: (-each.flips / each.pairs, each.title))


def _both(old: ScoreResult, new: ScoreResult) -> Iterable[tuple[str, tuple[float, float]]]:
    known = {(rubric.title, rubric.polarity): rubric.raw for rubric in old.rubrics}
    for rubric in new.rubrics:
        key = (rubric.title, rubric.polarity)
        if key in known:
            yield rubric.title, (known[key], rubric.raw)
    supports = {claim.text: claim.support for claim in old.claims}
    for claim in new.claims:
        support = supports.get(claim.text)
        if support is not None and claim.support is not None and claim.judged:
            yield CLAIM_SUPPORT, (support, claim.support)


def _agreement(title: str, values: Sequence[tuple[float, float]]) -> RubricAgreement:
    # A half counts as met on either side, so that a judge agrees with itself.
    sides = [(a >= FIXED_THRESHOLD, b >= FIXED_THRESHOLD) for a, b in values]
    return RubricAgreement(
        title=title,
        pairs=len(values),
        kappa=kappa([LabelledScore(score=float(b), label=float(a)) for a, b in sides]),
        difference=math.fsum(b - a for a, b in values) / len(values),
        flips=sum(a is not b for a, b in sides),
    )
