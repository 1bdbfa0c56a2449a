"""What a judge says, before any arithmetic. All scores are in [0, 1] and unflipped."""

from typing import Annotated

from pydantic import Field

from citemark_schemas.model import ClosedModel

Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class CriterionVerdict(ClosedModel):
    """How far a criterion is met or, for a negative one, how far its defect is present."""

    score: Unit
    """Probability-weighted mean of the offered verdicts where known, else the verdict; 2 is 1.0."""
    evidence: str | None = None
    """A quote from the answer, only where it was found there."""
    evidence_found: bool | None = None
    """False where the judge offered a quote that the answer does not contain; None without one."""


class ClaimVerdict(ClosedModel):
    """One claim against its cited snippets, jointly."""

    support: Unit
    """s in [0, 1]: not, partly (0.5), fully supported."""
    substantive: Unit
    """g in [0, 1]: says something toward the question."""
    contributing: dict[str, Unit] = Field(default_factory=dict)
    """c in [0, 1] for each judged id, of which none may be missing; empty where the claim has one
    id, which then contributes."""


class SentenceVerdict(ClosedModel):
    """One sentence outside the claim tags."""

    factual: Unit
    """1.0 where the sentence states something that would need a citation."""
