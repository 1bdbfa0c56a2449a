"""Verdicts to reward: flips, the weighted mean, and the one sum that the trainer sees. Pure.

    rubric_reward = Σ w·s / Σ w
    reward        = verification_reward × (rubric_reward + citation_weight × citation score)

Source: design page, section 2. A missing verdict never reaches this module: it is an error
before, because a missing defect would be credit after the flip.
"""

import math
from collections.abc import Sequence

from citemark_schemas import Criterion, CriterionVerdict, Knobs, Polarity, RubricScore

SCORING_VERSION = "1"
"""Raised whenever the same verdicts would give another reward."""


def score_criterion(criterion: Criterion, verdict: CriterionVerdict) -> RubricScore:
    """One criterion's score in [0, 1]: the verdict, flipped where the criterion is a defect."""
    negative = criterion.polarity is Polarity.NEGATIVE
    return RubricScore(
        title=criterion.title,
        polarity=criterion.polarity,
        source=criterion.source,
        weight=criterion.weight,
        raw=verdict.score,
        score=1.0 - verdict.score if negative else verdict.score,
        evidence=verdict.evidence,
        evidence_found=verdict.evidence_found,
    )


def rubric_reward(rubrics: Sequence[RubricScore]) -> float:
    """Weighted mean of the criteria's scores, in [0, 1].

    Raises:
        ValueError: the weights sum to 0, so there is nothing to average.
    """
    total = math.fsum(rubric.weight for rubric in rubrics)
    if total <= 0:
        raise ValueError("the criteria's weights sum to 0")
    weighted = math.fsum(rubric.weight / total * rubric.score for rubric in rubrics)
    return min(1.0, max(0.0, weighted))  # rounding of the shares can leave an ulp


def reward(rubric: float, citation: float | None, *, format_bonus: float, knobs: Knobs) -> float:
    """The reward from its parts.

    Args:
        rubric: `rubric_reward`, in [0, 1].
        citation: the citation score in [0, 1]; None where the citation term is off.
        format_bonus: share of format checks that pass, in [0, 1]; used only if gated.
        knobs: scale, weights and gate.

    Returns:
        A finite number in [0, verification_reward × (1 + citation_weight)].
    """
    gated = rubric * format_bonus if knobs.gate_judge_score_with_format_bonus else rubric
    cited = knobs.citation_weight * citation if citation is not None else 0.0
    return knobs.verification_reward * (gated + cited)
