"""The embedded judge: deterministic, instant, without model or network.

It compares words. Use it for first steps and tests, not for training: a policy can learn to
exploit a word count.
"""

import asyncio

from citemark_schemas import CriterionVerdict, SentenceVerdict
from citemark_service.judges.embedded.criteria import judge_criterion
from citemark_service.judges.embedded.statements import (
    index_sources,
    judge_claim,
    lay_out_answer,
    read_subject,
)
from citemark_service.judges.embedded.words import read_terms
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
)


class EmbeddedJudge(Judge):
    """A `Judge` that never fails and costs nothing; works in a thread, off the event loop."""

    # To be changed whenever a score may change.
    identity = JudgeIdentity(model="embedded", prompts="embedded-1")
    instant = True

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        del meter, deadline
        return await asyncio.to_thread(_judge_criteria, task)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        del meter, deadline
        return await asyncio.to_thread(_judge_citations, task)


def build(_settings: object, **_collaborators: object) -> EmbeddedJudge:
    return EmbeddedJudge()


def _judge_criteria(task: CriteriaTask) -> tuple[CriterionVerdict, ...]:
    answer = lay_out_answer(task)
    return tuple(judge_criterion(criterion, answer) for criterion in task.criteria)


def _judge_citations(task: CitationTask) -> CitationVerdicts:
    passages = index_sources(task.sources, (one for cited in task.claims for one in cited.ids))
    subject = read_subject(task.question, passages.values())
    sentences = []
    for sentence in task.sentences:
        # Any sentence with specific words states something; a question does not.
        factual = read_terms(sentence.text).specific and not sentence.text.rstrip().endswith("?")
        sentences.append(SentenceVerdict(factual=1.0 if factual else 0.0))
    claims = tuple(judge_claim(claim, subject, passages) for claim in task.claims)
    return CitationVerdicts(claims, tuple(sentences))
