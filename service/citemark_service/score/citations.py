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
        if self._by_paper:
            snippet = self._sources.by_id.get(snippet_id)
            # The kind is part of the key: an invented id that equals a paper's id stays an id.
            if snippet is not None and snippet.paper_id:
                return ("paper", snippet.paper_id)
        return ("id", snippet_id)

    def count_written(self, claim: ClaimScore) -> int:
        """m_i of the module docstring."""
        # At least one per statement: a bad tag around many facts must cost as much as no tag.
        return max(claim.statements, len({self.unit(i) for i in claim.ids}))

    def sum_credit(self, claim: ClaimScore) -> tuple[float, float]:
        """Σ_j c_ij and its variance, as 0 where that is not known."""
        shares = tuple(claim.contributing.get(snippet_id, 1.0) for snippet_id in claim.judged)
        variances = claim.variances[2:] if claim.variances else (0.0,) * len(shares)
        if self._by_paper and shares:
            found = zip(map(self.unit, claim.judged), shares, variances, strict=True)
            # A paper contributes as much as its best snippet, which comes last and so stays.
            best = {unit: each for unit, *each in sorted(found, key=lambda each: each[1:])}
            shares, variances = zip(*best.values(), strict=True)
        return math.fsum(shares), math.fsum(variances)


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
) -> tuple[float, float | None]:
    """`no_claims_score` times the probability that the answer states no fact, and its variance.

    Both are 0 with any tag, and where a sentence surely is a fact.
    """
    # An unjudged sentence counts as a fact, so that it never earns anything.
    clean = [1.0 - (1.0 if each.factual is None else each.factual) for each in sentences]
    score = 0.0 if claims or answer.stray_tags else no_claims_score * math.prod(clean)
    if not score:
        return 0.0, 0.0
    pairs = zip(clean, sentences, strict=True)
    squares = [share * share + s.variance for share, s in pairs if s.variance is not None]
    if len(squares) < len(clean):
        return score, None
    # Exact, and not below 0 but for rounding.
    return score, max(0.0, no_claims_score**2 * math.prod(squares) - score * score)


def _f1_variance(
    cited: CitationScore,
    claims: Sequence[ClaimScore],
    sentences: Sequence[SentenceScore],
    parts: Sequence[tuple[float, float]],
) -> float | None:
    """That of `cited.f1` to first order, verdicts independent; None where one's is not known.

    `parts` are the `sum_credit` of the claims.
    """
    if any(claim.judged and claim.variances is None for claim in claims):
        return None
    total = cited.precision + cited.recall
    if not total:  # F1 is 0, whatever else is judged
        return 0.0
    uncited = cited.uncited_factual or 0.0
    # The slopes of F1 over the numerators of R and P, and over U.
    by_earned = 2 * (cited.precision / total) ** 2 / (cited.claims + uncited)
    by_credited = 2 * (cited.recall / total) ** 2 / (cited.citations + uncited)
    by_uncited = by_earned * cited.recall + by_credited * cited.precision
    variance = 0.0
    for sentence in sentences:
        if sentence.variance is None:
            return None
        variance += by_uncited**2 * sentence.variance
    for claim, (credit, of_credit) in zip(claims, parts, strict=True):
        support, substantive = claim.support or 0.0, claim.substantive or 0.0
        of_support, of_substantive, *_ = claim.variances or (0.0, 0.0)
        # Exact for the product of the two: to first order it is an eighth off for unsure verdicts.
        of_both = (substantive**2 + of_substantive) * of_support + support**2 * of_substantive
        variance += (by_earned + by_credited * credit) ** 2 * of_both
        variance += (by_credited * support * substantive) ** 2 * of_credit
    return variance


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
    parts = [citations.sum_credit(claim) for claim in claims]
    pairs = zip(claims, parts, strict=True)
    credited = math.fsum(_credit_of(claim) * credit for claim, (credit, _) in pairs)
    recall = _share(earned, stated + (uncited or 0.0))
    precision = _share(credited, written + (uncited or 0.0))
    harmonic = f1(precision, recall)
    unclaimed, variance = _unclaimed_score(claims, sentences, answer, no_claims_score)
    cited = CitationScore(
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
    if claims:
        variance = _f1_variance(cited, claims, sentences, parts)
    return cited.model_copy(update={"variance": variance})


def _share(part: float, whole: float) -> float:
    # Rounding of the sums can put an exact 1 an ulp above it.
    return min(1.0, part / whole) if whole > 0 else 0.0
