"""A result as the flat numbers that trainers log and dashboards draw. Pure."""

from typing import Final

from citemark_schemas.score import ScoreResult

SIGNALS: Final = (
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
    """One finite float for each of `SIGNALS`; what was not judged is 0.0.

    `judge_failed` is 1.0 where the result has no reward: its other judged numbers say nothing.
    """
    citation = result.citation
    values = {
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
