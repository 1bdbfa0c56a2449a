"""The same line again and again is counted, not written."""

import logging

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.telemetry.logs import Throttle, log_fields


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def record(message: str = "%s failed", name: str = "citemark.judge", **facts) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": name, "levelno": 20, "msg": message, "args": ("it",)})
    made.__dict__.update(log_fields(**facts))
    return made


def written(throttle: Throttle, *records: logging.LogRecord) -> list[str]:
    return [each.getMessage() for each in records if throttle.filter(each)]


def test_a_burst_passes_and_the_rest_is_counted_on_the_next_line():
    clock = Clock()
    throttle = Throttle(burst=2, every_s=10.0, clock=clock)
    assert written(throttle, *(record() for _ in range(1000))) == ["it failed"] * 2
    clock.now += 10.0
    counted = "it failed (and 998 more such lines before)"
    assert written(throttle, *(record() for _ in range(3))) == [counted, "it failed"]
    clock.now += 10.0
    assert written(throttle, record()) == ["it failed (and 1 more such lines before)"]


def test_another_wording_server_or_kind_is_other_news_and_events_are_never_held_back():
    throttle = Throttle(burst=1)
    facts = [{"server": "a", "kind": "x"}, {"server": "b", "kind": "x"}, {"server": "b"}]
    others = [record("%s is back"), record(name="citemark.ledger")]
    assert len(written(throttle, *(record(**each) for each in facts), *others)) == 5
    assert written(throttle, record(server="a", kind="x", seconds=2)) == []
    records = [logging.makeLogRecord({"name": "other", "msg": {"status": 503}}) for _ in range(5)]
    assert written(throttle, *records) == ["{'status': 503}"]
    assert len(written(throttle, *(record(name="citemark.access") for _ in range(50)))) == 50


@given(st.lists(st.integers(0, 3000), max_size=60), st.integers(1, 4))
def test_every_line_is_written_or_counted(gaps, burst):
    clock = Clock()
    throttle = Throttle(burst=burst, every_s=1.0, clock=clock)
    seen = 0
    for gap in [*gaps, 10_000]:
        clock.now += gap / 1000
        for line in written(throttle, record()):
            seen += 1 + (int(line.split("(and ")[1].split()[0]) if "(and" in line else 0)
    assert seen == len(gaps) + 1


def test_wordings_without_end_take_bounded_room():
    throttle = Throttle()
    written(throttle, *(record(f"%s {number}") for number in range(5_000)))
    assert len(throttle._passed) <= 1_024
