"""What the service tells whoever watches it. Prometheus implements this; tests may record it."""

from typing import Literal, Protocol

from citemark_schemas import FailureKind, ScoreResult
from citemark_service.judges.protocol import Usage

Stage = Literal["parse", "queue", "criteria", "citations", "score"]


class Observer(Protocol):
    """Receives events as they happen. Implementations must be quick and must not raise."""

    def judge_call(self, *, outcome: FailureKind | None, seconds: float, usage: Usage) -> None:
        """One HTTP call to the judge ended; `outcome` is None where a reply was read."""

    def judge_retry(self, kind: FailureKind) -> None:
        """A call or a reply is about to be tried again because of `kind`."""

    def stage(self, name: Stage, seconds: float) -> None:
        """One stage of one rollout took `seconds`."""

    def rollout(self, result: ScoreResult) -> None:
        """One rollout is done, whatever came of it."""


class SilentObserver:
    """Watches nothing: for the command line and for tests that do not look."""

    def judge_call(self, *, outcome: FailureKind | None, seconds: float, usage: Usage) -> None:
        """Ignore."""

    def judge_retry(self, kind: FailureKind) -> None:
        """Ignore."""

    def stage(self, name: Stage, seconds: float) -> None:
        """Ignore."""

    def rollout(self, result: ScoreResult) -> None:
        """Ignore."""
