"""The service's errors, one tree.

    CitemarkError
    ├── SettingsError                a setting is unknown, out of range or contradictory
    ├── DataError                    a file of labelled rows is not as it should be
    ├── LedgerError                  the ledger cannot be read or written now
    ├── NotJudged                    other knobs need a verdict that was never given
    ├── RequestError                 the caller's mistake or moment; has `status` and `error`
    │   ├── Unauthorized             401  no API token, or a wrong one
    │   ├── InvalidRequest           422  names the item and field
    │   ├── TooLarge                 413  body, line or item count over its limit
    │   ├── BodyTimeout              408  the body stopped arriving
    │   ├── LedgerOff                404  the service keeps no ledger
    │   ├── NotKept                  404  no rollout is kept there
    │   ├── LedgerUnavailable        503  it cannot be read now
    │   ├── Overloaded               429  the queue is full; carries `retry_after_s`
    │   ├── JudgeFailed              503  a trainer wants failed judgements as an HTTP error
    │   └── ShuttingDown             503  the service is stopping
    └── JudgeError                   no verdict; has `kind` and `retryable`, becomes a `Failure`
        ├── JudgeUnreachable         no connection, or it broke
        ├── JudgeTimeout             the call took too long
        ├── JudgeOverloaded          429 or 503; may carry the server's `retry_after_s`
        ├── JudgeServerError         another 5xx
        ├── JudgeRejected            another 4xx: retrying is useless
        ├── JudgeTruncated           the reply ended for length
        ├── JudgeUnreadable          empty, not JSON, or another shape
        ├── InvalidVerdict           missing, repeated or off-menu verdict
        ├── DeadlineExceeded         the caller's deadline passed first
        └── JudgeStopped             the service is stopping

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

    status: ClassVar[int] = 400
    error: ClassVar[str] = "bad_request"

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


class Unauthorized(RequestError):
    """The service has an API token and the request does not; never quotes what was sent."""

    status = 401
    error = "unauthorized"


class InvalidRequest(RequestError):
    """The body or a rollout in it is malformed; `details` name the places."""

    status = 422
    error = "invalid_request"

    @classmethod
    def of(cls, problems: Sequence[ProblemDetail]) -> Self:
        """One error for all that is wrong, >= 1; its message is the first's, and none is long."""
        details = tuple(to_detail(each.loc, each.message) for each in problems[:_MOST_DETAILS])
        first, more = details[0], len(problems) - 1
        message = f"{first.loc}: {first.message}" + (f" (and {more} more)" if more else "")
        return cls(message, details=details)


class TooLarge(RequestError):
    """A body, a stream line or an item count is over its limit; the message names the limit."""

    status = 413
    error = "too_large"


class BodyTimeout(RequestError):
    """The request body stopped arriving before its end."""

    status = 408
    error = "body_timeout"


class LedgerOff(RequestError):
    """The service keeps no ledger, so there is nothing to read."""

    status = 404
    error = "ledger_off"


class NotKept(RequestError):
    """No rollout is kept of the run, step and group that the caller names."""

    status = 404
    error = "not_kept"


class LedgerUnavailable(RequestError):
    """The ledger cannot be read now."""

    status = 503
    error = "ledger_unavailable"


class Overloaded(RequestError):
    """As much work is queued as the service accepts."""

    status = 429
    error = "overloaded"


class JudgeFailed(RequestError):
    """Rollouts have no verdict, and the caller wants that as the answer to the whole request."""

    status = 503
    error = "judge_failed"


class ShuttingDown(RequestError):
    """The service finishes what it has and takes no more."""

    status = 503
    error = "shutting_down"


class JudgeError(CitemarkError):
    """No verdict could be had. Messages name calls, keys and statuses, never rollout text."""

    kind: ClassVar[FailureKind]
    retryable: ClassVar[bool] = True

    def failure(self) -> Failure:
        """This error as the value that the caller receives."""
        return Failure(kind=self.kind, message=str(self), retryable=self.retryable)


class JudgeUnreachable(JudgeError):
    """No connection to the judge, or one that broke before a whole reply."""

    kind = FailureKind.UNREACHABLE


class JudgeTimeout(JudgeError):
    """The judge did not answer within the call's timeout."""

    kind = FailureKind.TIMEOUT


class JudgeOverloaded(JudgeError):
    """429 or 503; `retry_after_s` is what the server asked for, in seconds."""

    kind = FailureKind.OVERLOADED

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JudgeServerError(JudgeError):
    """A 5xx other than 503."""

    kind = FailureKind.SERVER_ERROR


class JudgeRejected(JudgeError):
    """A 4xx other than 429: the same request will be rejected again."""

    kind = FailureKind.REJECTED
    retryable = False


class JudgeTruncated(JudgeError):
    """The reply ended for length before its last verdict."""

    kind = FailureKind.TRUNCATED


class JudgeUnreadable(JudgeError):
    """The reply is empty, not JSON, or of another shape."""

    kind = FailureKind.UNREADABLE


class InvalidVerdict(JudgeError):
    """A verdict is missing, repeated or not on the menu; the message names its key."""

    kind = FailureKind.INVALID_VERDICT


class DeadlineExceeded(JudgeError):
    """The deadline passed before the verdicts were there."""

    kind = FailureKind.DEADLINE


class JudgeStopped(JudgeError):
    """The service was stopping and did not start this judgement."""

    kind = FailureKind.SHUTTING_DOWN
