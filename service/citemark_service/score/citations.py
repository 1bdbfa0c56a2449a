"""Citation recall, precision and F1 from the judge's verdicts on claims. Pure.

With N distinct claims, U factual sentences outside claim tags, m_i distinct citations written
by claim i (fabricated ones and those beyond the cap included), support s_i, substantive g_i and
contributing c_ij, all in [0, 1] (design page, section 2):

    R = Σ g·s / (N + U)      P = Σ_i Σ_j g_i·s_i·c_ij / (Σ m_i + U)      F1 = 2PR / (P + R)

Uncited facts count in both denominators, so removing the tag of a bad claim never helps. A
fabricated id counts in the precision denominator with credit 0, so inventing one never helps.
A claim that cannot be judged (no id that exists, or a malformed tag) counts in N and Σ m once
for each of its sentences, so one bad tag around many facts does not help either.
"""

import math
from collections.abc import Sequence

from citemark_schemas import CitationScore, CitationUnit, ClaimScore, SentenceScore
from citemark_service.judges.tasks import IDS_PER_CLAIM
from citemark_service.parsing.parsed import Answer, Claim, Sources


def judgeable_ids(claim: Claim, sources: Sources) -> tuple[str, ...]:
    """The first `IDS_PER_CLAIM` valid ids; none where the claim is malformed."""
    if claim.malformed is not None:
        return ()
    return tuple(i for i in claim.ids if i in sources.by_id)[:IDS_PER_CLAIM]


def fabricated_ids(claim: Claim, sources: Sources) -> tuple[str, ...]:
    return tuple(i for i in claim.ids if i not in sources.by_id)


def f1(precision: float, recall: float) -> float:
    """Harmonic mean of two values in [0, 1]; 0 where both are 0."""
    total = precision + recall
    # The ratio is taken first because a product of subnormals underflows to 0. Sorting makes the
    # rounding, and so F1, symmetric in its arguments.
    low, high = sorted((precision, recall))
    return 2 * low * (high / total) if total > 0 else 0.0


class _Citations:
    """Counts the citations of claims per snippet id, or per paper."""

    def __init__(self, sources: Sources, unit: CitationUnit) -> None:
        self._sources = sources
        self._by_paper = unit == "paper"

    def unit(self, snippet_id: str) -> tuple[str, str]:
        snippet = self._sources.by_id.get(snippet_id)
        # The kind is part of the key: an invented id that equals a paper's id stays an id.
        if self._by_paper and snippet is not None and snippet.paper_id:
            return ("paper", snippet.paper_id)
        return ("id", snippet_id)

    def count_written(self, claim: ClaimScore) -> int:
        """m_i of the module docstring."""
        # At least one per statement: a bad tag around many facts must cost as much as no tag.
        return max(claim.statements, len({self.unit(i) for i in claim.ids}))

    def sum_credit(self, claim: ClaimScore) -> float:
        """Σ_j c_ij."""
        best: dict[tuple[str, str], float] = {}  # a paper contributes as much as its best snippet
        for snippet_id in claim.judged:
            unit = self.unit(snippet_id)
            best[unit] = max(best.get(unit, 0.0), claim.contributing.get(snippet_id, 1.0))
        return math.fsum(best.values())


def _credit_of(claim: ClaimScore) -> float:
    """g·s of one claim; 0 where it was not judged."""
    return (claim.support or 0.0) * (claim.substantive or 0.0)


def _count_uncited(sentences: Sequence[SentenceScore]) -> float | None:
    """U, the expected number of uncited facts; None where a sentence was not judged."""
    judged = [sentence.factual for sentence in sentences if sentence.factual is not None]
    return math.fsum(judged) if len(judged) == len(sentences) else None


def _unclaimed_score(
    claims: Sequence[ClaimScore],
    sentences: Sequence[SentenceScore],
    answer: Answer,
    no_claims_score: float,
) -> float:
    """`no_claims_score` times the probability that the answer states no fact; 0 with any tag."""
    if claims or answer.stray_tags:
        return 0.0
    # An unjudged sentence counts as a fact, so that it never earns anything.
    facts = (1.0 if sentence.factual is None else sentence.factual for sentence in sentences)
    return no_claims_score * math.prod(1.0 - fact for fact in facts)


def score_citations(
    claims: Sequence[ClaimScore],
    sentences: Sequence[SentenceScore],
    *,
    answer: Answer,
    sources: Sources,
    unit: CitationUnit = "snippet",
    no_claims_score: float = 0.0,
) -> CitationScore:
    """Citation score of one answer. A claim that was not judged (None) earns nothing.

    Sentences may be unjudged only where no claim earned anything: F1 is 0 for any U then.
    """
    citations = _Citations(sources, unit)
    uncited = _count_uncited(sentences)
    stated = sum(claim.statements for claim in claims)
    written = sum(citations.count_written(claim) for claim in claims)
    earned = math.fsum(_credit_of(claim) for claim in claims)
    credited = math.fsum(_credit_of(claim) * citations.sum_credit(claim) for claim in claims)
    recall = _share(earned, stated + (uncited or 0.0))
    precision = _share(credited, written + (uncited or 0.0))
    harmonic = f1(precision, recall)
    unclaimed = _unclaimed_score(claims, sentences, answer, no_claims_score)
    return CitationScore(
        recall=recall,
        precision=precision,
        f1=harmonic,
        score=max(harmonic, unclaimed),
        claims=stated,
        uncited_factual=uncited,
        citations=written,
        fabricated=sum(len(claim.fabricated) for claim in claims),
        malformed=sum(claim.malformed is not None for claim in claims),
        duplicates=sum(claim.occurrences - 1 for claim in claims),
    )


def _share(part: float, whole: float) -> float:
    # Rounding of the sums can put an exact 1 an ulp above it.
    return min(1.0, part / whole) if whole > 0 else 0.0
