"""From an answer's claims to the judge's task, and from its verdicts back to claims. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from citemark_schemas import (
    ClaimScore,
    ClaimVerdict,
    Knobs,
    SentenceScore,
    SentenceVerdict,
)
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CitedClaim,
    Origin,
)
from citemark_service.parsing.parsed import Answer, Claim, Sentence, Sources
from citemark_service.parsing.sentences import statements
from citemark_service.score.citations import fabricated_ids, judgeable_ids


@dataclass(frozen=True, slots=True)
class JudgedClaims:
    """Verdicts by claim and by sentence. What was not put to the judge is absent."""

    claims: Mapping[Claim, ClaimVerdict]
    sentences: Mapping[Sentence, SentenceVerdict]
    sentences_asked: bool
    """False where no call was needed, so that no sentence has a verdict."""


def citation_task(
    question: str,
    answer: Answer,
    sources: Sources,
    *,
    knobs: Knobs,
    cap: int,
    origin: Origin = Origin(),
) -> CitationTask | None:
    """What to ask of an answer's citations; None where no verdict could change the score.

    Without a claim that cites an existing id F1 is 0, so there is no call, except where
    `no_claims_score` could pay an answer without claims: then its sentences must be judged.

    Args:
        cap: at most so many claims, and so many sentences, are judged.
        origin: who asks.
    """
    if not knobs.apply_citation_reward:
        return None
    cited = ((claim, judgeable_ids(claim, sources)) for claim in answer.claims)
    claims = tuple(CitedClaim(claim, ids) for claim, ids in cited if ids)[:cap]
    abstains = not answer.claims and knobs.no_claims_score > 0 and bool(answer.sentences)
    if not claims and not abstains:
        return None
    return CitationTask(question, sources, claims, answer.sentences[:cap], origin)


def judged_claims(task: CitationTask | None, verdicts: CitationVerdicts | None) -> JudgedClaims:
    """Pair a task with its verdicts; both None where no call was needed."""
    if task is None or verdicts is None:
        return JudgedClaims({}, {}, sentences_asked=False)
    claims = (cited.claim for cited in task.claims)
    return JudgedClaims(
        dict(zip(claims, verdicts.claims, strict=True)),
        dict(zip(task.sentences, verdicts.sentences, strict=True)),
        sentences_asked=True,
    )


def claim_scores(
    answer: Answer, sources: Sources, judged: JudgedClaims | None
) -> tuple[ClaimScore, ...]:
    """Every distinct claim with its verdict; `judged` None where there are no verdicts at all.

    A claim that the judge was not asked about (malformed, no valid id, beyond the cap) has
    support 0: nothing shows that it is supported.
    """
    return tuple(_claim_score(claim, sources, judged) for claim in answer.claims)


def _claim_score(claim: Claim, sources: Sources, judged: JudgedClaims | None) -> ClaimScore:
    verdict = judged.claims.get(claim) if judged is not None else None
    judgeable = judgeable_ids(claim, sources)
    ids = judgeable if verdict is not None else ()
    return ClaimScore(
        text=claim.text,
        ids=claim.ids,
        fabricated=fabricated_ids(claim, sources),
        judged=ids,
        support=verdict.support if verdict else (None if judged is None else 0.0),
        substantive=verdict.substantive if verdict else None,
        contributing=_contributing(ids, verdict),
        malformed=claim.malformed,
        statements=1 if judgeable else statements(claim.text),
        occurrences=claim.occurrences,
        span=claim.span,
    )


def _contributing(ids: tuple[str, ...], verdict: ClaimVerdict | None) -> dict[str, float]:
    """c for each judged id; a single one carries the whole claim."""
    if verdict is None:
        return {}
    if len(ids) == 1:
        return {ids[0]: 1.0}
    return {snippet_id: verdict.contributing[snippet_id] for snippet_id in ids}


def sentence_scores(answer: Answer, judged: JudgedClaims | None) -> tuple[SentenceScore, ...]:
    """Every sentence outside the tags; beyond the cap each counts as an uncited fact."""
    asked = judged is not None and judged.sentences_asked
    return tuple(
        SentenceScore(
            text=sentence.text,
            span=sentence.span,
            factual=_factual(sentence, judged) if judged is not None and asked else None,
        )
        for sentence in answer.sentences
    )


def _factual(sentence: Sentence, judged: JudgedClaims) -> float:
    verdict = judged.sentences.get(sentence)
    return 1.0 if verdict is None else verdict.factual
