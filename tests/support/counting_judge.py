"""A judge in process whose verdicts follow from what is judged; it counts what it is asked."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

from citemark_schemas import ClaimVerdict, Criterion, CriterionVerdict, SentenceVerdict
from citemark_service.errors import JudgeError
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Usage,
)


def share(*texts: str) -> float:
    """A number in [0, 1] that follows from the texts."""
    return crc32("\0".join(texts).encode()) % 101 / 100


class CountingJudge(Judge):
    """Bills one call and 100 prompt tokens a task. `gate`, where set, holds every answer back."""

    def __init__(self, identity: JudgeIdentity = JudgeIdentity("oracle", "1")) -> None:  # noqa: B008  a frozen value
        self.identity = identity
        self.gate: asyncio.Event | None = None
        self.failure: JudgeError | None = None
        self.asked: Counter[str] = Counter()
        """Texts of criteria, claims and sentences, with how often each was judged."""
        self.calls = 0
        self.deadlines: list[float | None] = []
        self.cancelled = 0
        self.closed = False

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        await self._judge([c.description for c in task.criteria], meter, deadline)
        return tuple(self._criterion(task, criterion) for criterion in task.criteria)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        texts = [c.claim.text for c in task.claims] + [s.text for s in task.sentences]
        await self._judge(texts, meter, deadline)
        return CitationVerdicts(
            claims=tuple(self._claim(task, at) for at in range(len(task.claims))),
            sentences=tuple(
                SentenceVerdict(factual=share(task.question, s.text)) for s in task.sentences
            ),
        )

    async def aclose(self) -> None:
        self.closed = True

    async def _judge(self, texts: Sequence[str], meter: Meter, deadline: float | None) -> None:
        self.calls += 1
        self.asked.update(texts)
        self.deadlines.append(deadline)
        meter.add(Usage(calls=1, prompt_tokens=100))
        try:
            await (asyncio.sleep(0) if self.gate is None else self.gate.wait())
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None:
            raise self.failure

    def _criterion(self, task: CriteriaTask, criterion: Criterion) -> CriterionVerdict:
        texts = [task.question, task.answer.text, *criterion.key]
        texts += [part for s in task.sources.by_id.values() for part in (s.id, s.text)]
        score = share(*texts)
        quoted = score > 0.5
        return CriterionVerdict(
            score=score, evidence="a quote" if quoted else None, evidence_found=quoted or None
        )

    def _claim(self, task: CitationTask, at: int) -> ClaimVerdict:
        cited = task.claims[at]
        texts = [task.sources.by_id[snippet_id].text for snippet_id in cited.ids]
        whole = (task.question, cited.claim.text, *texts)
        several = len(cited.ids) > 1
        return ClaimVerdict(
            support=share("support", *whole),
            substantive=share("substantive", *whole),
            contributing={
                snippet_id: share(str(place), *whole) for place, snippet_id in enumerate(cited.ids)
            }
            if several
            else {},
        )
