"""What every judge is asked and answers: structured tasks in, verdicts out.

Prompts belong to the judges that are language models. A judge never sees the policy's
reasoning, only the answer block, and returns a verdict for every key or raises a `JudgeError`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from citemark_schemas import (
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    FormatReport,
    SentenceVerdict,
)
from citemark_service.parsing.parsed import Answer, Claim, Sentence, Sources

Question = Literal["criteria", "citations"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, and how urgently. Decides the order of calls, never a verdict."""

    caller: str = ""
    """Calls are shared out fairly between callers."""
    priority: int = 0
    """Lower goes first: 0 for training, 10 for audits."""
    run: str | None = None
    """The training run; like `step` only recorded."""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class CriteriaTask:
    """All criteria of one rollout. `question` and `sources` are what a group shares."""

    question: str
    sources: Sources
    answer: Answer
    format: FormatReport
    criteria: tuple[Criterion, ...]
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class CitedClaim:
    """A claim with the valid ids that the judge is to look at, at most five."""

    claim: Claim
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CitationTask:
    """All judgeable claims and uncited sentences of one rollout, with the cited snippets."""

    question: str
    sources: Sources
    claims: tuple[CitedClaim, ...]
    sentences: tuple[Sentence, ...]
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one task cost."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Words:
    """A prompt to a judge that is asked in words, or its reply."""

    question: Question
    text: str


class Meter:
    """Collects the usage of a task as it happens, so that spend counts even when it fails.

    A judgement that several callers wait for is on the meter of the one who started it.
    """

    def __init__(self) -> None:
        self.usage = Usage()
        self.replies: tuple[Words, ...] = ()
        """The first 16 of what the judge said, in order of arrival, each clipped."""
        self._kept = 0
        self._fresh = 0

    @property
    def all_kept(self) -> bool:
        """Whether verdicts were needed and a cache had every one of them."""
        return self._kept > 0 and self._fresh == 0

    def add(self, usage: Usage) -> None:
        self.usage = self.usage + usage

    def keep_reply(self, question: Question, reply: str) -> None:
        """Keep what the judge said, readable or not, as the reason of a verdict."""
        if len(self.replies) < 16:
            self.replies = (*self.replies, Words(question, reply[:16_000]))

    def count_verdicts(self, *, kept: int, fresh: int) -> None:
        """Record how many verdicts a cache had, and how many were judged for anyone."""
        self._kept += kept
        self._fresh += fresh


@dataclass(frozen=True, slots=True)
class CitationVerdicts:
    """One verdict for each claim and each sentence of the task, in its order."""

    claims: tuple[ClaimVerdict, ...]
    sentences: tuple[SentenceVerdict, ...]


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """What a verdict depends on besides its task."""

    model: str
    prompts: str
    """Hash of the prompt templates, or the version of a judge that has none: another one wherever
    a verdict may be another, since kept verdicts are found by it."""


class Judge(ABC):
    """A judge of structured tasks. Implementations are safe to call concurrently."""

    identity: JudgeIdentity
    instant: bool = False
    """Whether it answers at once and for nothing: then no cache of verdicts is set before it."""

    @abstractmethod
    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """One verdict per criterion, in order.

        `deadline` is a `time.monotonic()` value, None for none. Raises `JudgeError`.
        """

    @abstractmethod
    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        """One verdict per claim and per sentence, in order, with the contribution of each id where
        a claim has several. Raises `JudgeError`."""

    def prompts(
        self,
        criteria: CriteriaTask,  # noqa: ARG002
        citations: CitationTask | None,  # noqa: ARG002
    ) -> tuple[Words, ...]:
        """The prompts for these tasks when nothing is known yet; none for a judge without."""
        return ()

    async def check(self) -> None:  # noqa: B027 - most judges are always there
        """Return when the judge can be reached; raise `JudgeError` saying why it cannot."""

    async def aclose(self) -> None:  # noqa: B027 - and hold nothing
        """Release connections and processes; calls in flight are cancelled."""
