"""Retry-After: seconds or a date, and never an error."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas.retry_after import parse_retry_after

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", None),
        ("٣", None),  # a digit to `str.isdigit`, and no number to the header
        ("nan", None),
        ("inf", None),
        ("1e9999", None),
        ("9" * 10_000, None),
        ("soon", None),
        ("", None),
        ("Tue, 01 Jan 2030 00:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 00:00:30 -0000", 30.0),
        ("Mon, 31 Dec 2029 23:59:00 GMT", 0.0),
        ("Tue, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2999999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2999 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds


@given(st.integers(min_value=0, max_value=10**6))
def test_a_date_is_as_good_as_seconds(seconds):
    moment = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(moment, now=NOW) == seconds


_number = st.integers().map(str) | st.text("0123456789", max_size=30)
_zone = st.sampled_from(["GMT", "UTC", "-0000", "EST", ""]) | _number.map("+{}".format)
_date_like = st.tuples(_number, _number, _number, _number, _number, _zone).map(
    lambda part: "Mon, {} Jan {} {}:{}:{} {}".format(*part)
)


@given(st.text() | _number | _date_like)
def test_no_value_raises(value):
    found = parse_retry_after(value, now=NOW)
    assert found is None or 0 <= found < float("inf")
