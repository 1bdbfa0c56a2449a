"""The reward formula, from verdicts to terms and their sum. Pure.

    rubric_reward = Σ w·s / Σ w                     over criteria
    reward        = Σ weight × value                over terms

By default there are two terms, `rubrics` with the weight `verification_reward` and `citations`
with `verification_reward × citation_weight`. All other code reads `ScoreResult.terms`; add a new
term in `judged_terms` and nowhere else. Verdicts with gaps are refused before they get here
(`ParsedRollout.require_all`): a missing defect read as 0 would be full credit after the flip.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from citemark_schemas import (
    Criterion,
    CriterionVerdict,
    Loss,
    Polarity,
    RefusalKind,
    RubricScore,
    ScoreResult,
    Term,
)
from citemark_service.parsing.parsed import Answer

SCORING_VERSION = "3"
"""Increase it with every change that gives the same verdicts another reward."""

_HALF: Final = 0.5
_SUPPORTED: Final = 0.75  # less support is reported as "not fully supported"
_TITLE_CHARS: Final = 100


def score_criterion(criterion: Criterion, verdict: CriterionVerdict) -> RubricScore:
    """One criterion's score in [0, 1]: 1 - verdict for a negative criterion (a defect)."""
    negative = criterion.polarity is Polarity.NEGATIVE
    return RubricScore(
        title=criterion.title,
        polarity=criterion.polarity,
        source=criterion.source,
        weight=criterion.weight,
        raw=verdict.score,
        score=1.0 - verdict.score if negative else verdict.score,
        variance=verdict.variance,
        evidence=verdict.evidence,
        evidence_found=verdict.evidence_found,
        caveats=verdict.caveats,
    )


def rubric_reward(rubrics: Sequence[RubricScore]) -> float:
    """Weighted mean of the criteria's scores, in [0, 1]; a sum of weights of 0 is a ValueError."""
    total = math.fsum(rubric.weight for rubric in rubrics)
    if total <= 0:
        raise ValueError("the criteria's weights sum to 0")
    # Divided first: with subnormal weights, weight × score would underflow.
    weighted = math.fsum(rubric.weight / total * rubric.score for rubric in rubrics)
    return min(1.0, max(0.0, weighted))  # rounding of the shares can leave an ulp


def add_reward(draft: ScoreResult, answer: Answer) -> ScoreResult:
    """`draft` with terms and their sum as reward, both computed anew; none if the judge failed."""
    terms = to_terms(draft, answer)
    reward = variance = None
    if not draft.failure:
        reward = math.fsum(term.weight * term.value for term in terms)
        variance = _sum_variance((term.weight, term.variance) for term in terms)
    std = None if variance is None else math.sqrt(variance)
    return draft.model_copy(update={"terms": terms, "reward": reward, "reward_std": std})


def _sum_variance(parts: Iterable[tuple[float, float | None]]) -> float | None:
    """Variance of Σ factor × value, from (factor, variance of the value), values independent.

    None where that of a value that counts is not known.
    """
    counted = [(factor * factor, variance) for factor, variance in parts if factor]
    known = [square * variance for square, variance in counted if variance is not None]
    return math.fsum(known) if len(known) == len(counted) else None


def restore_terms(result: ScoreResult) -> ScoreResult:
    """Fill in the terms of a result that an older version stored without them."""
    if result.terms or result.reward is None:
        return result
    # No such version had a term that reads the answer's text, so an empty answer does.
    return result.model_copy(update={"terms": to_terms(result, Answer())})


def attainable(terms: Sequence[Term]) -> float:
    """The highest possible sum: value 1 for each positive weight, 0 for each negative one."""
    return math.fsum(max(0.0, term.weight) for term in terms)


def to_terms(result: ScoreResult, answer: Answer) -> tuple[Term, ...]:
    """The summands of the reward; none where the judge failed or there was no answer to judge."""
    if result.failure is not None:
        return ()
    if result.refusal is not None:
        if result.refusal.kind is not RefusalKind.NOT_STOPPED:
            return ()
        penalty = result.knobs.non_stop_penalty_value  # not scaled by `verification_reward`
        lost = _losses((result.refusal.message, -penalty))
        label = "non-stop penalty"
        return (Term(label=label, value=1.0, variance=0.0, weight=penalty, lost=lost),)
    return tuple(judged_terms(result, answer))


def judged_terms(result: ScoreResult, answer: Answer) -> Iterator[Term]:  # noqa: ARG001
    """The terms of a judged answer; `answer` is for terms that depend on its text.

    Each `value` is in [0, 1], and the losses of a term sum to `weight × (1 - value)`, or to
    `-weight × value` where the weight is negative. Knobs that are off yield no term. The verdicts
    of a term, which `variance` is made of, are no other's.
    """
    scale = result.knobs.verification_reward
    yield _rubric_term(result, scale)
    if result.citation is not None:
        weight, value = scale * result.knobs.citation_weight, result.citation.score
        cause = f"citations ({_citation_faults(result)})"
        lost = _losses((cause, weight * (1.0 - value)))
        noise = result.citation.variance
        yield Term(label="citations", value=value, variance=noise, weight=weight, lost=lost)


def _rubric_term(result: ScoreResult, scale: float) -> Term:
    value = result.rubric_reward or 0.0
    weights = math.fsum(rubric.weight for rubric in result.rubrics)
    parts = [
        (_rubric_fault(rubric), scale * (rubric.weight * (1.0 - rubric.score) / weights))
        for rubric in result.rubrics
        if weights
    ]
    shares = [(each.weight / weights, each.variance) for each in result.rubrics if weights]
    noise = _sum_variance(shares) if shares else None
    if not result.knobs.gate_judge_score_with_format_bonus:
        lost = _losses(*parts)
        return Term(label="rubrics", value=value, variance=noise, weight=scale, lost=lost)
    failing = [name for name, passed in result.format.checks.items() if not passed]
    bonus = result.format.bonus
    parts.append((f"format ({', '.join(failing)})", scale * value * (1.0 - bonus)))
    return Term(
        label="rubrics × format bonus",
        value=value * bonus,
        variance=_sum_variance([(bonus, noise)]),
        weight=scale,
        lost=_losses(*parts),
    )


def _losses(*parts: tuple[str, float]) -> tuple[Loss, ...]:
    return tuple(Loss(cause=cause, amount=amount) for cause, amount in parts if amount > 0)


def _rubric_fault(rubric: RubricScore) -> str:
    mostly, title = rubric.score < _HALF, rubric.title
    if len(title) > _TITLE_CHARS:
        title = f"{title[:_TITLE_CHARS]}…"
    if rubric.polarity is Polarity.NEGATIVE:
        return f"{'shows' if mostly else 'partly shows'} the defect “{title}”"
    return f"rubric “{title}” {'not met' if mostly else 'only partly met'}"


def _citation_faults(result: ScoreResult) -> str:
    """The faults of the citations with their counts, those that cost most first."""
    if not result.claims:
        return "the answer cites nothing"
    count = len(result.claims)
    weak = sum((claim.support or 0.0) < _SUPPORTED for claim in result.claims)
    empty = sum((claim.substantive or 0.0) < _HALF for claim in result.claims if claim.judged)
    facts = sum((sentence.factual or 0.0) >= _HALF for sentence in result.uncited)
    invented = sum(len(claim.fabricated) for claim in result.claims)
    idle = sum(share < _HALF for claim in result.claims for share in claim.contributing.values())
    faults = (
        (weak, f"{weak} of {count} claims not fully supported"),
        (invented, f"{invented} invented {'id' if invented == 1 else 'ids'}"),
        (facts, f"{facts} {'fact' if facts == 1 else 'facts'} without a citation"),
        (empty, f"{empty} of {count} claims beside the question"),
        (idle, f"{idle} idle {'citation' if idle == 1 else 'citations'}"),
    )
    return ", ".join(words for number, words in faults if number) or "small doubts"
