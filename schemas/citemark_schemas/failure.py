"""Why a rollout has no reward (`Failure`) or was not judged at all (`Refusal`).

A failure is the service's fault or the judge's, and `reward` is null: the trainer masks the
sample. A refusal is the rollout's own fault, and its reward is a number (0 or the penalty).
"""

from enum import StrEnum

from citemark_schemas.model import ResponseModel


class FailureKind(StrEnum):
    """What went wrong on the way to a verdict; used as a metric label, so the set is closed."""

    UNREACHABLE = "judge_unreachable"
    """No connection, or one that broke before a whole reply."""
    TIMEOUT = "judge_timeout"
    """The judge did not answer within the call's timeout."""
    OVERLOADED = "judge_overloaded"
    """429 or 503 until the retries ran out."""
    SERVER_ERROR = "judge_server_error"
    """Another 5xx until the retries ran out."""
    REJECTED = "judge_rejected"
    """A 4xx: the judge will never accept this request (too long, bad key, unknown model)."""
    TRUNCATED = "judge_truncated"
    """The reply ended for length before its last verdict."""
    UNREADABLE = "judge_unreadable"
    """Empty, not JSON, or another shape than asked for."""
    INVALID_VERDICT = "judge_invalid_verdict"
    """A verdict is missing, repeated or off the menu."""
    DEADLINE = "deadline_exceeded"
    """The caller's or the service's deadline passed first."""
    SHUTTING_DOWN = "shutting_down"
    """The service was stopping and did not start this rollout."""


class Failure(ResponseModel):
    """A judgement that could not be had. The rollout's `reward` is null."""

    kind: FailureKind
    """What went wrong, of a closed set."""
    message: str
    """For people: names the call, the key or the status that failed; no rollout text."""
    retryable: bool
    """True where the same request may succeed later."""


class RefusalKind(StrEnum):
    """Why a rollout got its number without a judge call."""

    NO_ANSWER = "no_answer_block"
    SEVERAL_ANSWERS = "several_answer_blocks"
    EMPTY_ANSWER = "empty_answer"
    NOT_STOPPED = "not_stopped"


class Refusal(ResponseModel):
    """A rollout that is not judged; its reward is 0, or the non-stop penalty value."""

    kind: RefusalKind
    """Which rule it broke, of a closed set."""
    message: str
    """For people; no rollout text."""
