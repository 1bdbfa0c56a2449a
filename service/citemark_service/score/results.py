"""Results from their parts: refused, failed or scored. Pure.

Only `scored` computes a reward, and it takes complete verdicts; a refusal's number and a
failure's null are written here and nowhere else.
"""

from dataclasses import dataclass

from citemark_schemas import (
    CitationScore,
    ClaimScore,
    CriterionVerdict,
    Failure,
    JudgeUsage,
    Refusal,
    RefusalKind,
    ScoreResult,
    SentenceScore,
    Versions,
)
from citemark_service.score.citations import score_citations
from citemark_service.score.claims import JudgedClaims, claim_scores, sentence_scores
from citemark_service.score.formula import add_reward, rubric_reward, score_criterion
from citemark_service.score.reading import Reading

_REFUSALS = {
    RefusalKind.NO_ANSWER: "the response has no complete <answer> block",
    RefusalKind.SEVERAL_ANSWERS: "the response has more than one <answer> block",
    RefusalKind.EMPTY_ANSWER: "the <answer> block says nothing",
    RefusalKind.NOT_STOPPED: "finish_reason is not stop",
}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """All that the judge said of one rollout."""

    criteria: tuple[CriterionVerdict, ...]
    citations: JudgedClaims


def refused(
    reading: Reading, kind: RefusalKind, judge: JudgeUsage, versions: Versions
) -> ScoreResult:
    """The result of a rollout that is not judged: 0, or the non-stop penalty as it stands."""
    draft = ScoreResult(
        id=reading.id,
        rollout_hash=reading.rollout_hash,
        reward=None,
        rubric_reward=None,
        citation=None,
        format=reading.format,
        refusal=Refusal(kind=kind, message=_REFUSALS[kind]),
        judge=judge,
        knobs=reading.knobs,
        versions=versions,
    )
    return add_reward(draft, reading.answer)


def failed(
    reading: Reading, failure: Failure, judge: JudgeUsage, versions: Versions
) -> ScoreResult:
    """The result of a rollout whose verdicts could not be had: no number anywhere."""
    return ScoreResult(
        id=reading.id,
        rollout_hash=reading.rollout_hash,
        reward=None,
        rubric_reward=None,
        citation=None,
        format=reading.format,
        claims=claim_scores(reading.answer, reading.sources, None),
        uncited=sentence_scores(reading.answer, None),
        failure=failure,
        judge=judge,
        knobs=reading.knobs,
        versions=versions,
    )


def scored(
    reading: Reading,
    verdicts: Verdicts,
    judge: JudgeUsage,
    versions: Versions,
    *,
    cached: bool = False,
) -> ScoreResult:
    """The result of a judged rollout, with all its arithmetic."""
    pairs = zip(reading.criteria, verdicts.criteria, strict=True)
    rubrics = tuple(score_criterion(criterion, verdict) for criterion, verdict in pairs)
    judged = verdicts.citations if reading.knobs.apply_citation_reward else None
    claims = claim_scores(reading.answer, reading.sources, judged)
    uncited = sentence_scores(reading.answer, judged)
    citation = _citation(reading, claims, uncited)
    draft = ScoreResult(
        id=reading.id,
        rollout_hash=reading.rollout_hash,
        reward=None,
        rubric_reward=rubric_reward(rubrics),
        citation=citation,
        format=reading.format,
        rubrics=rubrics,
        claims=claims,
        uncited=uncited,
        judge=judge,
        cached=cached,
        knobs=reading.knobs,
        versions=versions,
    )
    return add_reward(draft, reading.answer)


def _citation(
    reading: Reading, claims: tuple[ClaimScore, ...], uncited: tuple[SentenceScore, ...]
) -> CitationScore | None:
    if not reading.knobs.apply_citation_reward:
        return None
    return score_citations(
        claims,
        uncited,
        answer=reading.answer,
        sources=reading.sources,
        unit=reading.knobs.citation_unit,
        no_claims_score=reading.knobs.no_claims_score,
    )
