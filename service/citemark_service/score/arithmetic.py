"""The formulas of one result with its numbers filled in, as lines of text. Pure."""

import math
from collections.abc import Iterator

from citemark_schemas import CitationScore, ScoreResult
from citemark_service.score.figures import figure


def citation_lines(citation: CitationScore) -> Iterator[str]:
    """Recall, precision and F1, each with what it was computed from.

    The numerators are the shares times their denominators, so that the lines agree with the
    result whatever the citation unit is.
    """
    if citation.uncited_factual is None:
        yield "F1        0.000   no claim cites an id that exists, so nothing was judged"
    else:
        yield from _shares(citation, citation.uncited_factual)
    if citation.score != citation.f1:
        yield f"score     {citation.score:.3f}   no_claims_score: there is no factual claim"
    counts = f"fabricated ids {citation.fabricated}, malformed claims {citation.malformed}"
    yield f"          {counts}, repeated claims {citation.duplicates}"


def _shares(citation: CitationScore, uncited: float) -> Iterator[str]:
    recall, precision = citation.recall, citation.precision
    claims, citations = citation.claims + uncited, citation.citations + uncited
    yield (
        f"recall    {recall:.3f} = {recall * claims:.2f} supported / "
        f"(claims {citation.claims} + uncited facts {uncited:.2f})"
    )
    yield (
        f"precision {precision:.3f} = {precision * citations:.2f} contributing / "
        f"(citations {citation.citations} + uncited facts {uncited:.2f})"
    )
    formula = f" = 2 × {precision:.3f} × {recall:.3f} / ({precision:.3f} + {recall:.3f})"
    yield f"F1        {citation.f1:.3f}{formula if precision + recall > 0 else ''}"


def rubric_line(result: ScoreResult) -> str:
    """The weighted mean of the criteria."""
    weights = math.fsum(rubric.weight for rubric in result.rubrics)
    weighted = math.fsum(rubric.weight * rubric.score for rubric in result.rubrics)
    mean = f"{result.rubric_reward or 0.0:.3f}"
    return f"rubrics   {mean} = {weighted:.2f} weighted score / {weights:.2f} weight"


def reward_line(result: ScoreResult) -> str:
    """The sum that gives the reward, or why there is none."""
    if result.failure is not None:
        retry = "a retry may help" if result.failure.retryable else "a retry will not help"
        return f"no reward: {result.failure.kind}: {result.failure.message} ({retry})"
    if result.refusal is not None:
        return f"reward    {_reward(result)}: not judged, {result.refusal.message}"
    return f"reward    {_reward(result)} = {_sum(result)}"


def _reward(result: ScoreResult) -> str:
    """Only a penalty can make it negative."""
    return figure(result.reward or 0.0, ".3f")


def _sum(result: ScoreResult) -> str:
    knobs = result.knobs
    parts = f"{result.rubric_reward or 0.0:.3f}"
    if knobs.gate_judge_score_with_format_bonus:
        parts += f" × {result.format.bonus:.3f} format bonus"
    if result.citation is not None:
        parts += f" + {knobs.citation_weight:g} × {result.citation.score:.3f}"
    return f"{knobs.verification_reward:g} × ({parts})"
