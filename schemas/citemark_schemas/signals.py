"""A result as the flat numbers that trainers log and dashboards draw. Pure."""

from typing import Final

from citemark_schemas.score import CitationScore, ScoreResult

_CITATION: Final = (
    "citation_f1",
    "citation_recall",
    "citation_precision",
    "claims",
    "uncited_facts",
    "fabricated_ids",
)
SIGNALS: Final = (
    "rubric_reward",
    *_CITATION,
    "format_bonus",
    "refused",
    "judge_failed",
)
"""The keys of `metrics_of`, in order. Trainers read them off the first sample and expect them of
every other one, so the set never depends on a result."""


def metrics_of(result: ScoreResult) -> dict[str, float]:
    """One finite float for each of `SIGNALS`; what was not judged is 0.0.

    `judge_failed` is 1.0 where the result has no reward: its other judged numbers say nothing.
    """
    values = {
        "rubric_reward": result.rubric_reward or 0.0,
        **_citation(result.citation),
        "format_bonus": result.format.bonus,
        "refused": float(result.refusal is not None),
        "judge_failed": float(result.failure is not None),
    }
    return {name: float(values[name]) for name in SIGNALS}


def _citation(citation: CitationScore | None) -> dict[str, float]:
    if citation is None:
        return dict.fromkeys(_CITATION, 0.0)
    return {
        "citation_f1": citation.f1,
        "citation_recall": citation.recall,
        "citation_precision": citation.precision,
        "claims": float(citation.claims),
        "uncited_facts": citation.uncited_factual or 0.0,
        "fabricated_ids": float(citation.fabricated),
    }
