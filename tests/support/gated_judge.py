"""A judge in process that does what the question of a rollout says, and remembers it."""

import asyncio
import threading
from dataclasses import dataclass, field

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.errors import JudgeError, JudgeUnreachable
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CriteriaTask,
    Judge,
    JudgeIdentity,
    Meter,
)


@dataclass
class GatedJudge(Judge):
    """Full marks for everything, in criteria and in claims.

    A question that says `wait` waits for the gate, `fail` fails, `broken` meets a defect.
    """

    identity = JudgeIdentity(model="gated", prompts="gated-1")

    gate: threading.Event = field(default_factory=threading.Event)
    unready: JudgeError | None = None
    """What `check` raises."""
    checks: int = 0
    started: list[str] = field(default_factory=list)
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
        try:
            await self._behave(task.question)
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

    async def _behave(self, question: str) -> None:
        if "broken" in question:
            raise ZeroDivisionError("scripted defect")
        if "fail" in question:
            raise JudgeUnreachable("scripted: no connection")
        while "wait" in question and not self.gate.is_set():  # noqa: ASYNC110  set by a thread
            await asyncio.sleep(0.005)
