"""Transport retries: which errors, how often, how long between. Nothing else retries these.

A reply that was read and is useless is not a transport error; the language judge decides about
those, because it can ask again under another constraint.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    wait_random_exponential,
)

from citemark_schemas import FailureKind
from citemark_service.errors import (
    DeadlineExceeded,
    JudgeError,
    JudgeOverloaded,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
)
from citemark_service.telemetry.lines import told
from citemark_service.telemetry.trail import Bound

T = TypeVar("T")

_log = logging.getLogger("citemark.judge")

TRANSPORT_ERRORS: Final = (JudgeUnreachable, JudgeTimeout, JudgeOverloaded, JudgeServerError)
"""The errors after which the same bytes may be answered."""


def seconds_left(deadline: float | None) -> float:
    """Seconds until `deadline` (`time.monotonic()`), infinite where there is none.

    Raises:
        DeadlineExceeded: it has passed.
    """
    if deadline is None:
        return float("inf")
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("the deadline passed before the judge was asked")
    return left


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` tries, the first included, with exponential back-off and full jitter.

    The wait before try n + 1 is uniform in [0, first_wait_s · 2^(n-1)], at most `max_wait_s`
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). What the server
    asked for in Retry-After comes on top, so that callers who were told the same second do not
    return in step; where it asks for more than `max_wait_s`, or for more than the deadline
    leaves, waiting is pointless and the error is raised at once.
    """

    attempts: int = 4
    first_wait_s: float = 0.5
    max_wait_s: float = 30.0

    async def run(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        deadline: float | None,
        on_retry: Callable[[FailureKind], None],
    ) -> T:
        """Return the first success of `attempt`; `on_retry` hears of each further try.

        Raises:
            JudgeError: what the last try raised, or the first error that is no transport error.
        """
        try:
            return await attempt()
        except TRANSPORT_ERRORS as error:
            failed = error
        # Only now: tenacity's objects cost nearly as much CPU as the whole call that failed.
        return await self._retrying(deadline, on_retry)(_Resumed(failed, attempt))

    def _retrying(
        self, deadline: float | None, on_retry: Callable[[FailureKind], None]
    ) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(TRANSPORT_ERRORS),
            wait=self._wait,
            stop=lambda state: self._is_over(state, deadline),
            before_sleep=lambda state: _again(state, on_retry),
            sleep=asyncio.sleep,
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        jitter = wait_random_exponential(multiplier=self.first_wait_s, max=self.max_wait_s)
        return _asked_wait(state) + jitter(state)

    def _is_over(self, state: RetryCallState, deadline: float | None) -> bool:
        if state.attempt_number >= self.attempts or _asked_wait(state) > self.max_wait_s:
            return True
        return deadline is not None and time.monotonic() + state.upcoming_sleep >= deadline


class _Resumed(Generic[T]):
    """An attempt whose first try is over: it raises what that try raised, then tries anew."""

    def __init__(self, failed: JudgeError, attempt: Callable[[], Awaitable[T]]) -> None:
        self._failed: JudgeError | None = failed
        self._attempt = attempt
        self._tried = 1

    async def __call__(self) -> T:
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        self._tried += 1
        with Bound(attempt=self._tried):
            return await self._attempt()


def _again(state: RetryCallState, on_retry: Callable[[FailureKind], None]) -> None:
    kind = _error_of(state).kind
    on_retry(kind)
    wait_s, following = state.upcoming_sleep, state.attempt_number + 1
    facts = {"kind": kind.value, "wait_s": round(wait_s, 3), "attempt": following}
    _log.info("%s: attempt %d follows in %.2f s", kind.value, following, wait_s, extra=told(facts))


def _asked_wait(state: RetryCallState) -> float:
    error = _error_of(state)
    return (isinstance(error, JudgeOverloaded) and error.retry_after_s) or 0.0


def _error_of(state: RetryCallState) -> JudgeError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, JudgeError):  # the retry predicate lets nothing else come here
        raise TypeError(f"not a transport error: {error!r}")
    return error
