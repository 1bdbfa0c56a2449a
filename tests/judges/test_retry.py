"""When a call is tried again; that it is, and how often, the tests at sockets show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import JudgeOverloaded
from citemark_service.judges.server.pool import RetryPolicy

POLICY = RetryPolicy(attempts=10_000, first_wait_s=0.5, max_wait_s=30.0)


@given(st.integers(1, 9_999), st.none() | st.floats(0, 30))
def test_the_wait_is_what_the_server_asked_for_and_a_bounded_part_of_the_back_off(attempt, asked_s):
    wait_s = POLICY.plan_retry(JudgeOverloaded("busy", retry_after_s=asked_s), attempt, None)
    assert 0 <= wait_s - (asked_s or 0) <= min(30.0, 0.5 * 2.0 ** min(attempt - 1, 10)) + 1e-9


def test_where_the_server_asks_for_more_than_the_longest_wait_its_error_is_raised():
    with pytest.raises(JudgeOverloaded):
        POLICY.plan_retry(JudgeOverloaded("busy", retry_after_s=31), 1, None)
