"""Judges in process, which remember what they are asked."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict, WarningKind
from citemark_service.errors import JudgeError, JudgeUnreachable
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CitedClaim,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
    Usage,
)


def share(*parts: object) -> float:
    """A number in [0, 1] that follows from what is given."""
    return crc32(repr(parts).encode()) % 101 / 100


@dataclass
class CountingJudge(Judge):
    """Its verdicts follow from what is judged; bills one call and 100 prompt tokens a task.

    `gate`, where set, holds every answer back.
    """

    identity: JudgeIdentity = JudgeIdentity("oracle", "1")  # noqa: RUF009  a frozen value
    gate: asyncio.Event | None = None
    failure: JudgeError | None = None
    caveats: tuple[WarningKind, ...] = ()
    """Of the verdicts on criteria."""
    asked: Counter[str] = field(default_factory=Counter)
    """Texts of criteria, claims and sentences, with how often each was judged."""
    calls: int = 0
    deadlines: list[float | None] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        await self._judge((c.description for c in task.criteria), meter, deadline)
        shown = [(s.id, s.text) for s in task.sources.by_id.values()]
        scores = [share(task.question, task.answer.text, shown, c.key) for c in task.criteria]
        quoted = {"evidence": "a quote", "evidence_found": True}
        return tuple(
            CriterionVerdict(
                score=s, variance=s, caveats=self.caveats, **(quoted if s > 0.5 else {})
            )
            for s in scores
        )

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        texts = [c.claim.text for c in task.claims] + [s.text for s in task.sentences]
        await self._judge(texts, meter, deadline)
        factual = (share(task.question, s.text) for s in task.sentences)
        return CitationVerdicts(
            claims=tuple(_judge_claim(task, cited) for cited in task.claims),
            sentences=tuple(SentenceVerdict(factual=each, variance=each) for each in factual),
        )

    async def aclose(self) -> None:
        self.closed = True

    async def _judge(self, texts: Iterable[str], meter: Meter, deadline: float | None) -> None:
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


def _judge_claim(task: CitationTask, cited: CitedClaim) -> ClaimVerdict:
    texts = [task.sources.by_id[snippet_id].text for snippet_id in cited.ids]
    whole = (task.question, cited.claim.text, texts)
    parts = enumerate(cited.ids) if len(cited.ids) > 1 else ()
    contributing = {snippet_id: share(place, whole) for place, snippet_id in parts}
    return ClaimVerdict(
        support=share("support", whole),
        substantive=share("substantive", whole),
        contributing=contributing,
        variances=(share("doubt", whole), 0.0, *contributing.values()),
    )


@dataclass
class GatedJudge(Judge):
    """Full marks for everything, in criteria and in claims.

    A question that says `wait` waits for the gate, `fail` fails, `broken` meets a defect; an answer
    that says `fail` fails.
    """

    identity = JudgeIdentity(model="gated", prompts="gated-1")

    gate: threading.Event = field(default_factory=threading.Event)
    unready: JudgeError | None = None
    """What `check` raises."""
    checks: int = 0
    started: list[str] = field(default_factory=list)
    conversations: dict[str, list[str]] = field(default_factory=dict)
    """What was said before each question that was judged."""
    cancelled: list[str] = field(default_factory=list)
    closed: bool = False

    def forget(self) -> None:
        """Close the gate and start anew."""
        self.gate.clear()
        self.unready = None
        self.checks = 0
        self.started.clear()
        self.cancelled.clear()

    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        self.started.append(task.question)
        self.conversations[task.question] = [turn.content for turn in task.conversation]
        if "broken" in task.question:
            raise ZeroDivisionError("scripted defect")
        if "fail" in task.question + task.answer.text:
            raise JudgeUnreachable("scripted: no connection")
        try:
            while "wait" in task.question and not self.gate.is_set():  # noqa: ASYNC110  set by a thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(task.question)
            raise
        return tuple(CriterionVerdict(score=1.0) for _ in task.criteria)

    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        return CitationVerdicts(
            claims=tuple(ClaimVerdict(support=1.0, substantive=1.0) for _ in task.claims),
            sentences=tuple(SentenceVerdict(factual=0.0) for _ in task.sentences),
        )

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(0.05)
        if self.unready is not None:
            raise self.unready

    async def aclose(self) -> None:
        self.closed = True
