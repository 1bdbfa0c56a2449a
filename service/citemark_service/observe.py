"""What the service tells whoever watches it. Prometheus implements this; tests may record it."""

from typing import Literal, Protocol

from citemark_schemas import FailureKind, ScoreResult
from citemark_service.judges.protocol import Usage

PrimeOutcome = Literal["primed", "failed", "late"]
Stage = Literal["parse", "queue", "criteria", "citations", "score"]
CacheOperation = Literal["read", "write", "value"]
"""What a verdict cache failed at; `value` is one that was kept and is no verdict."""
ProbeAspect = Literal["grammar", "logprobs", "prefix_cache"]
"""What the probe looks at in a server of the judge."""


class JudgeServer(Protocol):
    """A server that the judge sends calls to, as seen from here."""

    @property
    def name(self) -> str:
        """Host and port, from the settings."""
        ...

    @property
    def up(self) -> bool:
        """Whether calls are sent to it."""
        ...

    @property
    def limit(self) -> int:
        """Calls that it is sent at once, at most."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls that it has and has not answered."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for one of its slots."""
        ...


class LedgerQueue(Protocol):
    """The rollouts that the ledger was given and has not kept, as seen from here."""

    @property
    def waiting(self) -> int:
        """Rollouts that wait to be kept; the few of a moment where all is well."""
        ...

    @property
    def troubled(self) -> bool:
        """Whether the database could not be used when it was last tried."""
        ...


class Observer(Protocol):
    """Receives events as they happen. Implementations must be quick and must not raise."""

    def judge_call(self, *, outcome: FailureKind | None, seconds: float, usage: Usage) -> None:
        """One HTTP call to the judge ended; `outcome` is None where a reply was read."""

    def judge_retry(self, kind: FailureKind) -> None:
        """A call or a reply is about to be tried again because of `kind`."""

    def judge_server(self, server: JudgeServer) -> None:
        """A server was set up to send calls to; it may be asked how it is at any time."""

    def server_call(self, server: str, outcome: FailureKind | None) -> None:
        """One attempt at the server of that name ended; `outcome` as for `judge_call`."""

    def server_ejected(self, server: str) -> None:
        """The server of that name gets no calls until it answers again."""

    def judge_probe(self, server: str, aspect: ProbeAspect, *, works: bool) -> None:
        """The probe at start-up saw the server of that name do this, or not."""

    def prime(self, outcome: PrimeOutcome) -> None:
        """The prime of a group ended."""

    def stage(self, name: Stage, seconds: float) -> None:
        """One stage of one rollout took `seconds`; `queue` is one call's wait for its slot."""

    def rollout(self, result: ScoreResult, *, answer_characters: int) -> None:
        """One rollout is done, whatever came of it; its answer is 0 long where it has not one."""

    def verdicts(self, *, judge: int, cache: int, joined: int) -> None:
        """The verdicts of one task: judged for it, kept before, or judged for another caller."""

    def cache_error(self, operation: CacheOperation) -> None:
        """The verdict cache failed; the verdict counts as unknown."""

    def cache_size(self, entries: int) -> None:
        """So many verdicts are in memory now."""

    def ledger(self, *, written: int, again: int, lost: int) -> None:
        """So many rollouts were kept by the ledger, so many were there already, and so many never
        will be."""

    def ledger_queue(self, queue: LedgerQueue) -> None:
        """A ledger was set up; it may be asked how it is at any time, from the event loop."""

    def spans(self, *, sent: int, lost: int) -> None:
        """So many spans were exported, and so many never will be; from any thread."""


class SilentObserver:
    """Watches nothing: for the command line and for tests that do not look."""

    def judge_call(self, *, outcome: FailureKind | None, seconds: float, usage: Usage) -> None:
        """Ignore."""

    def judge_retry(self, kind: FailureKind) -> None:
        """Ignore."""

    def judge_server(self, server: JudgeServer) -> None:
        """Ignore."""

    def server_call(self, server: str, outcome: FailureKind | None) -> None:
        """Ignore."""

    def server_ejected(self, server: str) -> None:
        """Ignore."""

    def judge_probe(self, server: str, aspect: ProbeAspect, *, works: bool) -> None:
        """Ignore."""

    def prime(self, outcome: PrimeOutcome) -> None:
        """Ignore."""

    def stage(self, name: Stage, seconds: float) -> None:
        """Ignore."""

    def rollout(self, result: ScoreResult, *, answer_characters: int) -> None:
        """Ignore."""

    def verdicts(self, *, judge: int, cache: int, joined: int) -> None:
        """Ignore."""

    def cache_error(self, operation: CacheOperation) -> None:
        """Ignore."""

    def cache_size(self, entries: int) -> None:
        """Ignore."""

    def ledger(self, *, written: int, again: int, lost: int) -> None:
        """Ignore."""

    def ledger_queue(self, queue: LedgerQueue) -> None:
        """Ignore."""

    def spans(self, *, sent: int, lost: int) -> None:
        """Ignore."""
