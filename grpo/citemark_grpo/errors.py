"""The client's errors, one tree.

    ScoreError           no results for some of the rollouts; has `scored`
    ├── Unreachable      no connection, a broken one, or a gateway's 502 or 504, to the last attempt
    ├── Overloaded       429 or 503 to the last attempt
    ├── TimedOut         the deadline passed, or one call took longer than `timeout_s`
    ├── Refused          another 4xx: the request is wrong and stays so; carries `problem`
    ├── Broken           another 5xx: the service failed on this request
    ├── Unreadable       an answer that is not the contract's, or not for these rollouts
    └── Unjudged         an answer without a reward: the judge failed; carries `failure`
    SettingsError        the client's own configuration; a ValueError

The client retries `Unreachable` and `Overloaded` and raises the others at once. A rollout that the
judge could not score is a result with a `failure`; `Unjudged` is for trainers that leave out a
sample whose reward function raises.
"""

from collections.abc import Sequence

from citemark_schemas import Failure, Problem, ScoreResult


class ScoreError(Exception):
    scored: Sequence[ScoreResult | None] = ()
    """Results of the other batches, one entry for each rollout; None where there is none."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Unreachable(ScoreError):
    """Retried by the client."""


class Overloaded(ScoreError):
    """Retried by the client."""


class TimedOut(ScoreError):
    """Not retried: the service may still be judging."""


class Refused(ScoreError):
    """The service, or the schema before sending, found the request invalid.

    `problem.details` have the rollout's index in the caller's sequence.
    """

    def __init__(self, problem: Problem, *, status: int | None = None) -> None:
        places = "".join(f"; {detail.loc}: {detail.message}" for detail in problem.details)
        super().__init__(f"{problem.message}{places}", status=status)
        self.problem = problem


class Broken(ScoreError):
    """The service answered with a 5xx other than 502, 503 and 504."""


class Unreadable(ScoreError):
    """The answer is not a `ScoreResponse` with one result for each rollout, in order."""


class Unjudged(ScoreError):
    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind.value}: {failure.message}")
        self.failure = failure


class SettingsError(ValueError):
    """The client is not told where the service is, or a setting is out of range."""
