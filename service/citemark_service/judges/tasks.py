"""The interface of all judges: structured tasks in, verdicts out.

A judge sees the answer block only, never the policy's reasoning. It returns a verdict for every
criterion, claim and sentence of the task, or raises a `JudgeError`.
"""

import operator
from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from citemark_schemas import (
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    FormatReport,
    SentenceVerdict,
    Turn,
)
from citemark_service.parsing.parsed import Answer, Claim, Sentence, Sources

Question = Literal["criteria", "citations"]


class Cut(NamedTuple):
    """What is shown of a text that its prompt has no room for whole."""

    most: int  # bytes
    about: tuple[str, ...] = ()  # of a source: the claims that cite it

    @property
    def key(self) -> tuple[str, ...]:
        return (str(self.most), *self.about)


Cuts = tuple[tuple[Criterion | Claim | Sentence | str, Cut], ...]  # a source by its id


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a task comes from. Affects the order of calls, never a verdict."""

    caller: str = ""  # callers of one priority take turns
    priority: int = 0  # lower goes first: 0 for training, 10 for audits
    run: str | None = None  # the training run; like `step` recorded only
    step: int | None = None


@dataclass(frozen=True, slots=True)
class CriteriaTask:
    """All criteria of one rollout; a group has equal `conversation`, `question` and `sources`."""

    question: str
    sources: Sources
    answer: Answer
    format: FormatReport
    criteria: tuple[Criterion, ...]
    origin: Origin = Origin()
    conversation: tuple[Turn, ...] = ()
    """What was said before the question."""
    cuts: Cuts | None = None
    """Those of the whole rollout, whichever part of it is asked about; None before `Judge.cut`,
    which a judge of smaller prompts needs anew."""


IDS_PER_CLAIM: Final = 5
"""Support is judged jointly over the first 5 valid ids; further ones only count in m_i."""


@dataclass(frozen=True, slots=True)
class CitedClaim:
    """A claim with the ids of the sources to judge it by: valid ones, at most `IDS_PER_CLAIM`."""

    claim: Claim
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CitationTask:
    """All judgeable claims and uncited sentences of one rollout."""

    question: str
    sources: Sources
    claims: tuple[CitedClaim, ...]
    sentences: tuple[Sentence, ...]
    origin: Origin = Origin()
    conversation: tuple[Turn, ...] = ()
    cuts: Cuts | None = None


T = TypeVar("T", CriteriaTask, CitationTask)


@dataclass(frozen=True, slots=True)
class Usage:
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Words:
    question: Question
    text: str


class Meter:
    """Accumulates the usage of a task, which counts even when the task fails.

    A judgement that several callers wait for is charged to the meter of the one that started it.
    """

    def __init__(self) -> None:
        self.usage = Usage()
        self.replies: tuple[Words, ...] = ()
        self._kept = 0
        self._fresh = 0

    @property
    def all_kept(self) -> bool:
        """Whether every verdict, of at least one, came from a cache."""
        return self._kept > 0 and self._fresh == 0

    def add(self, usage: Usage) -> None:
        self.usage = self.usage + usage

    def keep_reply(self, question: Question, reply: str) -> None:
        """Keep the first 16 replies, readable or not, each cut to 16,000 characters."""
        if len(self.replies) < 16:
            self.replies = (*self.replies, Words(question, reply[:16_000]))

    def count_verdicts(self, *, kept: int, fresh: int) -> None:
        """Add to the numbers of cached and of newly judged verdicts, for this caller or another."""
        self._kept += kept
        self._fresh += fresh


@dataclass(frozen=True, slots=True)
class CitationVerdicts:
    """One verdict per claim and per sentence, in the order of the task."""

    claims: tuple[ClaimVerdict, ...]
    sentences: tuple[SentenceVerdict, ...]


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """What a verdict depends on besides its task; part of the key of every cached verdict."""

    model: str
    prompts: str  # hash of the prompt templates, or the version of a judge without any


class Judge(ABC):
    """A judge of structured tasks. Implementations are safe to call concurrently."""

    identity: JudgeIdentity
    instant: bool = False  # whether verdicts are free and immediate, so that none are cached

    @abstractmethod
    async def judge_criteria(
        self, task: CriteriaTask, *, meter: Meter, deadline: float | None
    ) -> tuple[CriterionVerdict, ...]:
        """Return one verdict per criterion, in order.

        `deadline` is a `time.monotonic()` value, None for no limit. Raises `JudgeError`.
        """

    @abstractmethod
    async def judge_citations(
        self, task: CitationTask, *, meter: Meter, deadline: float | None
    ) -> CitationVerdicts:
        """As `judge_criteria`; a claim with several ids gets the contribution of each."""

    def cut(self, task: T) -> T:
        """The task with its `cuts`, on which a verdict may depend; as it is without prompts."""
        return task

    def prompts(
        self,
        criteria: CriteriaTask,  # noqa: ARG002
        citations: CitationTask | None,  # noqa: ARG002
    ) -> tuple[Words, ...]:
        """The prompts of the first calls for these tasks; empty for a judge without prompts."""
        return ()

    async def check(self) -> None:  # noqa: B027 - a judge in this process is always reachable
        """Raise `JudgeError`, with the reason, if the judge cannot be reached."""

    async def aclose(self) -> None:  # noqa: B027 - and has nothing to release
        """Release connections and processes; calls in flight are cancelled."""
