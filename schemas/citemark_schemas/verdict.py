"""What a judge says, before any arithmetic. All scores are in [0, 1] and unflipped."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from citemark_schemas.model import ClosedModel

Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
ClaimVariances = Annotated[tuple[Unit, ...], Field(min_length=2)]


class WarningKind(StrEnum):
    """What may make a number say less than it seems; used as a metric label, so it is closed."""

    UNREAD_CITATIONS = "unread_citations"
    """The answer cites in a notation that `citation_style` does not read."""
    MIXED_NOTATIONS = "mixed_notations"
    """The answer mixes notations; it was read in the one that most of its citations have."""
    NO_SOURCES = "no_sources"
    """The tool output defines no source, so that no citation can count."""
    REPEATED_IDS = "repeated_ids"
    """The answer cites ids that stand for several texts; support by any of them counts."""
    UNSURE = "unsure"
    """The judge's probabilities of a verdict were missing in part or not finite, so that the
    verdict counts as the digit that was written."""
    QUESTION_CUT = "question_cut"
    """Of question or conversation the judge saw a part, since its context is too short; likewise
    for the others."""
    SOURCES_CUT = "sources_cut"
    ANSWER_CUT = "answer_cut"
    CRITERIA_CUT = "criteria_cut"


class Caveats(BaseModel):
    """What a verdict, and the score made of it, is to be taken with."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    caveats: tuple[WarningKind, ...] = ()
    """Of `WarningKind` `unsure` and those that end in `_cut`."""

    @property
    def is_cut(self) -> bool:
        """Whether the judge saw less than it would with a longer context."""
        return any(kind.endswith("_cut") for kind in self.caveats)


class CriterionVerdict(ClosedModel, Caveats):
    """How far a criterion is met or, for a negative one, how far its defect is present."""

    score: Unit
    """Probability-weighted mean of the offered verdicts where known, else the verdict; 2 is 1.0."""
    variance: Unit | None = None
    """That of the offered verdicts, each over 2; None where their probabilities are not known."""
    evidence: str | None = None
    """A quote from the answer, only where it was found there."""
    evidence_found: bool | None = None
    """False where the judge offered a quote that the answer does not contain; None without one."""


class ClaimVerdict(ClosedModel, Caveats):
    """One claim against its cited snippets, jointly."""

    support: Unit
    """s in [0, 1]: not, partly (0.5), fully supported."""
    substantive: Unit
    """g in [0, 1]: says something toward the question."""
    contributing: dict[str, Unit] = Field(default_factory=dict)
    """c in [0, 1] for each judged id, of which none may be missing; empty where the claim has one
    id, which then contributes."""
    variances: ClaimVariances | None = None
    """Of support, substantive and each of `contributing`, in order; see `CriterionVerdict`."""


class SentenceVerdict(ClosedModel, Caveats):
    """One sentence outside the claim tags."""

    factual: Unit
    """1.0 where the sentence states something that would need a citation."""
    variance: Unit | None = None
    """See `CriterionVerdict`."""
