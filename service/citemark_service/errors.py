"""The service's errors, one tree.

Transport errors are retried by the judge client (the one owner of those retries); the four
reply errors (truncated, unreadable, invalid, and evidence that is not in the answer) are
retried once by the judge itself, under another constraint. Nothing else retries.
"""

from collections.abc import Sequence
from typing import ClassVar, Final, Self

from citemark_schemas import Failure, FailureKind, ProblemDetail
from citemark_schemas.details import to_detail

_MOST_DETAILS: Final = 50


class CitemarkError(Exception):
    """Root of the tree."""


class SettingsError(CitemarkError):
    """A setting that the service cannot start with; the message names it."""


class DataError(CitemarkError):
    """A file that cannot be used; the message names it, the line and what is wrong there."""


class LedgerError(CitemarkError):
    """The ledger's database cannot be used; the message names it, without a password."""


class NotJudged(CitemarkError):
    """A reward under these knobs needs a verdict that was never given; the message says which."""


class RequestError(CitemarkError):
    """Answered with `status` and a `Problem` body named `error`."""

    status: ClassVar[int]
    error: ClassVar[str]

    def __init_subclass__(cls, *, status: int, error: str) -> None:
        cls.status, cls.error = status, error

    def __init__(
        self,
        message: str,
        *,
        details: tuple[ProblemDetail, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.details = details
        self.retry_after_s = retry_after_s


class Unauthorized(RequestError, status=401, error="unauthorized"):
    """The service has an API token and the request does not; never quotes what was sent."""


class InvalidRequest(RequestError, status=422, error="invalid_request"):
    """The body or a rollout in it is malformed; `details` name the places."""

    @classmethod
    def of(cls, problems: Sequence[ProblemDetail]) -> Self:
        """One error for all that is wrong, >= 1; its message is the first's, and none is long."""
        details = tuple(to_detail(each.loc, each.message) for each in problems[:_MOST_DETAILS])
        first, more = details[0], len(problems) - 1
        message = f"{first.loc}: {first.message}" + (f" (and {more} more)" if more else "")
        return cls(message, details=details)


class TooLarge(RequestError, status=413, error="too_large"):
    """A body, a stream line or an item count is over its limit; the message names the limit."""


class UnknownCoding(RequestError, status=415, error="unknown_coding"):
    """The body's `Content-Encoding` is none that is read; the message names those that are."""


class Misplaced(RequestError, status=403, error="cross_site"):
    """A browser sent this for another site, or under a name that may be another site's."""


class WrongTokens(RequestError, status=429, error="wrong_tokens"):
    """So many wrong tokens came from the caller's address that none is looked at for a while."""


class HeadersTooLarge(RequestError, status=431, error="headers_too_large"):
    """The request's headers are over their limit."""


class BodyTimeout(RequestError, status=408, error="body_timeout"):
    """The request body stopped arriving before its end, or took too long."""


class LedgerOff(RequestError, status=404, error="ledger_off"):
    """The service keeps no ledger, so there is nothing to read."""


class NotKept(RequestError, status=404, error="not_kept"):
    """No rollout is kept of the run, step and group that the caller names."""


class LedgerUnavailable(RequestError, status=503, error="ledger_unavailable"):
    """The ledger cannot be read now."""


class Overloaded(RequestError, status=429, error="overloaded"):
    """As much work is queued as the service accepts."""


class JudgeFailed(RequestError, status=503, error="judge_failed"):
    """Rollouts have no verdict, and the caller wants that as the answer to the whole request."""


class ShuttingDown(RequestError, status=503, error="shutting_down"):
    """The service finishes what it has and takes no more."""


class JudgeError(CitemarkError):
    """No verdict could be had. Messages name calls, keys and statuses, never rollout text."""

    kind: ClassVar[FailureKind]
    retryable: ClassVar[bool]

    def __init_subclass__(cls, *, kind: FailureKind, retryable: bool = True) -> None:
        cls.kind, cls.retryable = kind, retryable

    def failure(self) -> Failure:
        """This error as the value that the caller receives."""
        return Failure(kind=self.kind, message=str(self), retryable=self.retryable)


class JudgeUnreachable(JudgeError, kind=FailureKind.UNREACHABLE):
    """No connection to the judge, or one that broke before a whole reply."""


class JudgeTimeout(JudgeError, kind=FailureKind.TIMEOUT):
    """The judge did not answer within the call's timeout."""


class JudgeOverloaded(JudgeError, kind=FailureKind.OVERLOADED):
    """429 or 503; `retry_after_s` is what the server asked for, in seconds."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JudgeServerError(JudgeError, kind=FailureKind.SERVER_ERROR):
    """A 5xx other than 501 and 503."""


class JudgeRejected(JudgeError, kind=FailureKind.REJECTED, retryable=False):
    """501, or a 4xx other than 408 and 429: the same request will be rejected again."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PromptTooLong(JudgeRejected, kind=FailureKind.REJECTED, retryable=False):
    """More tokens than the server takes: `asked` is their number and `context` their most, with
    the reply's; None where the server did not say."""

    def __init__(
        self, message: str, *, status: int | None, asked: int | None, context: int | None
    ) -> None:
        super().__init__(message, status=status)
        self.asked = asked
        self.context = context

    @property
    def fits(self) -> float:
        """The share of the prompt to ask with instead, below 1."""
        if self.asked is None or self.context is None:
            return 0.6
        # Less, for the reply, and since what a cut leaves need not have as few tokens a byte.
        return min(1.0, self.context / self.asked) * 0.95


class JudgeCannotRead(JudgeRejected, kind=FailureKind.REJECTED, retryable=False):
    """The server answers no questions, at least not of this model; the message says what would."""


class JudgeTruncated(JudgeError, kind=FailureKind.TRUNCATED):
    """The reply ended for length before its last verdict."""


class JudgeUnreadable(JudgeError, kind=FailureKind.UNREADABLE):
    """The reply is empty, not JSON, or of another shape."""


class InvalidVerdict(JudgeError, kind=FailureKind.INVALID_VERDICT):
    """A verdict is missing, repeated or not on the menu; the message names its key."""


class DeadlineExceeded(JudgeError, kind=FailureKind.DEADLINE):
    """The deadline passed before the verdicts were there."""


class JudgeStopped(JudgeError, kind=FailureKind.SHUTTING_DOWN):
    """The service was stopping and did not start this judgement."""
