"""Explains a result in words from its terms; computes no part of the reward. Pure."""

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from citemark_schemas import CitationScore, Loss, ScoreResult, Term
from citemark_service.printable import figure
from citemark_service.score.formula import attainable

_CAUSES: Final = 3
_LEAST: Final = 0.005  # smaller losses would be printed as 0.00


class Level(StrEnum):
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    UNKNOWN = "unknown"


_SIGNS: Final = {Level.GOOD: "✓", Level.FAIR: "~", Level.POOR: "✗", Level.UNKNOWN: "?"}


def level_of(value: float | None) -> Level:
    """The level of a value in [0, 1], or of None where nothing was judged."""
    if value is None:
        return Level.UNKNOWN
    if value >= 0.75:
        return Level.GOOD
    return Level.FAIR if value >= 0.25 else Level.POOR


def sign_of(value: float | None) -> str:
    """The level as one character, for output without colours."""
    return _SIGNS[level_of(value)]


def losses(result: ScoreResult) -> list[Loss]:
    """All losses, the largest first; reward + losses = `formula.attainable`."""
    return sorted(
        (loss for term in result.terms for loss in term.lost), key=lambda loss: -loss.amount
    )


def reason(result: ScoreResult) -> str:
    """The reward, and its largest losses or the reason why there is none, in one sentence."""
    if result.failure is not None:
        retry = "a retry may help" if result.failure.retryable else "a retry will not help"
        return (
            f"No reward: the judge failed ({result.failure.kind}: {result.failure.message}); "
            f"{retry}. The trainer should mask this sample."
        )
    reward = figure(result.reward or 0.0, ".2f")
    if result.refusal is not None:
        return f"Reward {reward} without judging: {result.refusal.message}."
    got = f"Got {reward} of {attainable(result.terms):.2f}"
    every = losses(result)
    largest = [loss for loss in every[:_CAUSES] if loss.amount >= _LEAST]
    if not largest:
        return f"{got}; nothing to speak of was lost."
    causes = "; ".join(f"{loss.amount:.2f}: {loss.cause}" for loss in largest)
    rest = math.fsum(loss.amount for loss in every) - math.fsum(loss.amount for loss in largest)
    more = f"; and {rest:.2f} by smaller faults" if rest >= _LEAST else ""
    return f"{got}. Lost {causes}{more}."


def reward_line(result: ScoreResult) -> str:
    if result.failure is not None:
        retry = "a retry may help" if result.failure.retryable else "a retry will not help"
        return f"no reward: {result.failure.kind}: {result.failure.message} ({retry})"
    reward = figure(result.reward or 0.0, ".3f")  # a penalty can make it negative
    if result.refusal is not None:
        return f"reward    {reward}: not judged, {result.refusal.message}"
    noise = "" if result.reward_std is None else f" ± {result.reward_std:.3f}"
    return f"reward    {reward}{noise} = {''.join(_summands(result.terms))}"


def _summands(terms: tuple[Term, ...]) -> Iterator[str]:
    for position, term in enumerate(terms):
        # The first weight keeps its own minus; later ones show it as the operator.
        weight = figure(abs(term.weight) if position else term.weight, "g")
        sign = "" if not position else " − " if term.weight < 0 else " + "
        # The heavier the term, the more of its digits reach the printed sum.
        digits = 3 + max(0, math.ceil(math.log10(abs(term.weight) or 1.0)))
        yield f"{sign}{weight} × {term.value:.{digits}f} ({term.label})"


def rubric_line(result: ScoreResult) -> str:
    weights = math.fsum(rubric.weight for rubric in result.rubrics)
    weighted = math.fsum(rubric.weight * rubric.score for rubric in result.rubrics)
    mean = f"{result.rubric_reward or 0.0:.3f}"
    line = f"rubrics   {mean} = {weighted:.2f} weighted score / {weights:.2f} weight"
    if result.knobs.gate_judge_score_with_format_bonus:
        line += f", × {result.format.bonus:.3f} format bonus"
    return line


def citation_lines(citation: CitationScore) -> Iterator[str]:
    """Recall, precision and F1, each with the numbers that it was computed from."""
    # Numerators are recomputed as share × denominator: they hold for either citation unit.
    uncited, recall, precision = citation.uncited_factual, citation.recall, citation.precision
    if uncited is None:
        yield "F1        0.000   no claim cites an id that exists, so nothing was judged"
    else:
        yield (
            f"recall    {recall:.3f} = {recall * (citation.claims + uncited):.2f} supported / "
            f"(claims {citation.claims} + uncited facts {uncited:.2f})"
        )
        contributing = precision * (citation.citations + uncited)
        yield (
            f"precision {precision:.3f} = {contributing:.2f} contributing / "
            f"(citations {citation.citations} + uncited facts {uncited:.2f})"
        )
        mean = f" = 2 × {precision:.3f} × {recall:.3f} / ({precision:.3f} + {recall:.3f})"
        yield f"F1        {citation.f1:.3f}{mean if precision + recall > 0 else ''}"
    if citation.score != citation.f1:
        yield f"score     {citation.score:.3f}   no_claims_score: there is no factual claim"
    counts = f"fabricated ids {citation.fabricated}, malformed claims {citation.malformed}"
    yield f"          {counts}, repeated claims {citation.duplicates}"
