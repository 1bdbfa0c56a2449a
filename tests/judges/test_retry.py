"""The retry policy: what is retried, how often, and that it never outlives a deadline."""

import time
from collections.abc import Awaitable, Callable

import pytest

from citemark_schemas import FailureKind
from citemark_service.errors import (
    DeadlineExceeded,
    InvalidVerdict,
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeServerError,
    JudgeStopped,
    JudgeTimeout,
    JudgeTruncated,
    JudgeUnreachable,
    JudgeUnreadable,
)
from citemark_service.judges.server.pool import RetryPolicy

TRANSPORT = [JudgeUnreachable, JudgeTimeout, JudgeOverloaded, JudgeServerError]
FINAL = [
    JudgeRejected,
    JudgeUnreadable,
    JudgeTruncated,
    InvalidVerdict,
    DeadlineExceeded,
    JudgeStopped,
]


class Attempt:
    """Raises the given errors in turn, then returns `done`."""

    def __init__(self, *errors: JudgeError) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def quick(attempts: int = 4) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, first_wait_s=0.001)


async def run(
    policy: RetryPolicy, attempt: Callable[[], Awaitable[str]], deadline_s: float | None = None
) -> tuple[str, list[FailureKind]]:
    heard: list[FailureKind] = []
    deadline = None if deadline_s is None else time.monotonic() + deadline_s
    async for each in policy.retrying(deadline, heard.append):
        with each:
            return await attempt(), heard
    raise AssertionError("the last attempt raises")


@pytest.mark.parametrize("error", TRANSPORT)
async def test_a_transport_error_is_tried_again_and_heard_of(error: type[JudgeError]) -> None:
    attempt = Attempt(error("x"), error("x"))

    assert await run(quick(), attempt) == ("done", [error.kind, error.kind])
    assert attempt.tries == 3


@pytest.mark.parametrize("error", FINAL)
async def test_every_other_error_is_raised_as_it_is(error: type[JudgeError]) -> None:
    first = error("x")
    attempt = Attempt(first)

    with pytest.raises(error) as raised:
        await run(quick(), attempt)
    assert raised.value is first
    assert attempt.tries == 1


async def test_a_bug_is_not_a_judge_error_and_is_not_retried() -> None:
    async def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(quick(), broken)


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_the_last_error_is_raised_after_so_many_attempts(attempts: int) -> None:
    errors = [JudgeServerError(str(number)) for number in range(attempts + 3)]
    attempt = Attempt(*errors)

    with pytest.raises(JudgeServerError, match=f"^{attempts - 1}$"):
        await run(quick(attempts), attempt)
    assert attempt.tries == attempts


async def test_retry_after_is_waited_for() -> None:
    started = time.monotonic()
    await run(quick(), Attempt(JudgeOverloaded("busy", retry_after_s=0.3)))

    assert time.monotonic() - started >= 0.3


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    attempt = Attempt(JudgeOverloaded("busy", retry_after_s=20))

    with pytest.raises(JudgeOverloaded) as raised:
        await run(quick(), attempt, deadline_s=10)
    assert raised.value.retry_after_s == 20
    assert attempt.tries == 1


async def test_a_retry_after_beyond_the_longest_wait_is_not_waited_for() -> None:
    attempt = Attempt(JudgeOverloaded("busy", retry_after_s=3600))

    with pytest.raises(JudgeOverloaded):
        await run(quick(), attempt)
    assert attempt.tries == 1


async def test_a_deadline_ends_the_tries_with_the_last_transport_error() -> None:
    attempt = Attempt(*[JudgeUnreachable("gone") for _ in range(1000)])
    policy = RetryPolicy(attempts=1000, first_wait_s=0.05, max_wait_s=0.05)

    with pytest.raises(JudgeUnreachable):
        await run(policy, attempt, deadline_s=1.5)
    assert 1 < attempt.tries < 1000
