"""The embedded judge: deterministic, instant, without model or network.

It compares words. It lets a newcomer see sensible scores and a pipeline be tested; it is no
judge to train on, for a policy can learn to please a word count.
"""

import asyncio
from typing import Final, Literal

from citemark_schemas import ClaimVerdict, Criterion, CriterionVerdict, Polarity, SentenceVerdict
from citemark_service.judges.embedded.aspects import aspect_of
from citemark_service.judges.embedded.content import mention
from citemark_service.judges.embedded.lexical import Passage, read_passage
from citemark_service.judges.embedded.support import (
    Subject,
    Terms,
    contribution,
    read_subject,
    read_terms,
    relevance,
    substance,
    support,
)
from citemark_service.judges.embedded.survey import Survey, read_sources, survey
from citemark_service.judges.embedded.vocabulary import ABOUT_TEXT, GENERIC
from citemark_service.judges.protocol import (
    CitationTask,
    CitationVerdicts,
    CitedClaim,
    CriteriaTask,
    JudgeIdentity,
    Meter,
)
from citemark_service.parsing.parsed import Sentence

# Changes whenever a score may change; it is part of every cache key.
_VERSION = "1"
_QUOTE_CHARS = 300


def _quoted(score: float, quote: str | None) -> CriterionVerdict:
    if not quote:
        return CriterionVerdict(score=score)
    return CriterionVerdict(score=score, evidence=quote[:_QUOTE_CHARS], evidence_found=True)


def judge_criterion(criterion: Criterion, answer: Survey) -> CriterionVerdict:
    """One criterion: by its aspect of form where it has one, else by what it names."""
    aspect = aspect_of(criterion)
    if aspect is None:
        finding = mention(criterion.description, answer)
        return _quoted(finding.score, finding.quote)
    finding = aspect.measure(answer)
    asks_for_it = aspect.defect == (criterion.polarity is Polarity.NEGATIVE)
    if asks_for_it:
        return _quoted(finding.score, finding.quote)
    return _quoted(1.0 - finding.score, None)


def _contributing(terms: Terms, cited: dict[str, Passage]) -> dict[str, float]:
    if len(cited) < 2:
        return {}
    return {
        snippet_id: contribution(
            terms, passage, [other for key, other in cited.items() if key != snippet_id]
        )
        for snippet_id, passage in cited.items()
    }


def judge_claim(cited: CitedClaim, subject: Subject, passages: dict[str, Passage]) -> ClaimVerdict:
    """One claim against the passages of its ids, jointly."""
    terms = read_terms(cited.claim.text)
    own = {one: passages[one] for one in cited.ids if one in passages}
    return ClaimVerdict(
        support=support(terms, tuple(own.values())),
        substantive=substance(terms)
        * relevance(subject, terms, read_passage(cited.claim.text), tuple(own.values())),
        contributing=_contributing(terms, own),
    )


def judge_sentence(sentence: Sentence) -> SentenceVerdict:
    """Any sentence that says something of the world needs a citation; a question says nothing."""
    content = read_terms(sentence.text).weights.keys() - GENERIC - ABOUT_TEXT
    asks = sentence.text.rstrip().endswith("?")
    return SentenceVerdict(factual=1.0 if content and not asks else 0.0)


def _criteria(task: CriteriaTask) -> tuple[CriterionVerdict, ...]:
    answer = survey(task)
    return tuple(judge_criterion(criterion, answer) for criterion in task.criteria)


def _citations(task: CitationTask) -> CitationVerdicts:
    passages = read_sources(task.sources, (one for cited in task.claims for one in cited.ids))
    subject = read_subject(task.question, passages.values())
    return CitationVerdicts(
        claims=tuple(judge_claim(claim, subject, passages) for claim in task.claims),
        sentences=tuple(map(judge_sentence, task.sentences)),
    )


class EmbeddedJudge:
    """A `Judge` that never fails and spends nothing.

    It counts words in a thread, so that a long rollout does not hold up the service's loop.
    """

    instant: Final[Literal[True]] = True

    @property
    def identity(self) -> JudgeIdentity:
        """Its own version stands in for prompts."""
        return JudgeIdentity(model="embedded", prompts=f"embedded-{_VERSION}")

    async def judge_criteria(
        self,
        task: CriteriaTask,
        *,
        meter: Meter,  # noqa: ARG002 - the protocol's: there is nothing to spend
        deadline: float | None,  # noqa: ARG002 - the protocol's: there is nothing to wait for
    ) -> tuple[CriterionVerdict, ...]:
        """One verdict per criterion, in order."""
        return await asyncio.to_thread(_criteria, task)

    async def judge_citations(
        self,
        task: CitationTask,
        *,
        meter: Meter,  # noqa: ARG002 - the protocol's: there is nothing to spend
        deadline: float | None,  # noqa: ARG002 - the protocol's: there is nothing to wait for
    ) -> CitationVerdicts:
        """One verdict per claim and per sentence, in order."""
        return await asyncio.to_thread(_citations, task)

    async def check(self) -> None:
        """Always ready."""

    async def aclose(self) -> None:
        """Holds nothing."""


def build(_settings: object, **_collaborators: object) -> EmbeddedJudge:
    """The judge, which nothing can be set of."""
    return EmbeddedJudge()
