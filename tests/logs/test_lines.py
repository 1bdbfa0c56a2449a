"""Lines of the log: valid whatever is in them, of the right request, and not without end."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.telemetry.logs import (
    JsonLines,
    TextLines,
    Throttle,
    log_context,
    log_fields,
    set_log_context,
)

HOSTILE = st.text(st.characters(), max_size=80) | st.sampled_from(
    ['"', "\\", "a\nb", "\x1b[2J", "\u2028", "\ud800", "\udfff\ud800", "\x00", "\u202eevil", "}\n{"]
)


def record(message: str, *args: object, name: str = "citemark.x", **facts) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": name, "levelno": 20, "levelname": "INFO"})
    made.msg, made.args = message, args
    made.__dict__.update(log_fields(**facts))
    return made


@given(HOSTILE, HOSTILE, HOSTILE)
def test_any_text_is_one_line(message, fact, rollout):
    made = record("%s", message, question=fact)
    with log_context(rollout=rollout):
        line, text = JsonLines().format(made), TextLines().format(made)
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    read_again = json.dumps(read, ensure_ascii=False).encode()  # no half characters
    assert json.loads(read_again) == read
    assert read.keys() >= {"time", "level", "logger", "message", "question", "rollout"}
    assert read["message"] == "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in message)
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    text.encode()


def test_the_parts_of_a_line():
    set_log_context(request="r-1")
    made = record("call to %s failed", "gpu1", server="gpu1", seconds=0.25)
    made.created = 1_700_000_000.5
    with log_context(rollout="a b", attempt=2):
        assert json.loads(JsonLines().format(made)) == {
            "request": "r-1",
            "rollout": "a b",
            "attempt": 2,
            "server": "gpu1",
            "seconds": 0.25,
            "time": "2023-11-14T22:13:20.500Z",
            "level": "info",
            "logger": "citemark.x",
            "message": "call to gpu1 failed",
        }
        line = TextLines().format(made)
        assert line.endswith('failed request=r-1 rollout="a b" attempt=2')
        stated = TextLines().format(record("of r-1", request="r-1"))  # not said twice
        assert stated.endswith('INFO citemark.x of r-1 rollout="a b" attempt=2')


def break_loudly() -> None:
    raise ValueError("\x1b[31mred")


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_a_defect_comes_with_its_traceback(lines):
    made = record("broke")
    try:
        break_loudly()
    except ValueError:
        made.exc_info = sys.exc_info()
    text = lines.format(made)
    assert "Traceback" in text
    assert "[31mred" in text
    assert "\x1b" not in text


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def written(throttle: Throttle, *records: logging.LogRecord) -> list[str]:
    return [each.getMessage() for each in records if throttle.filter(each)]


def test_a_burst_passes_and_the_rest_is_counted_on_the_next_line():
    clock = Clock()
    throttle = Throttle(burst=2, every_s=10.0, clock=clock)
    assert written(throttle, *(record("it failed") for _ in range(1000))) == ["it failed"] * 2
    clock.now += 10.0
    counted = "it failed (and 998 more such lines before)"
    assert written(throttle, *(record("it failed") for _ in range(3))) == [counted, "it failed"]
    clock.now += 10.0
    assert written(throttle, record("it failed")) == ["it failed (and 1 more such lines before)"]


def test_another_wording_server_or_kind_is_other_news_and_events_are_never_held_back():
    throttle = Throttle(burst=1)
    facts = [{"server": "a", "kind": "x"}, {"server": "b", "kind": "x"}, {"server": "b"}]
    others = [record("it is back"), record("it failed", name="citemark.ledger")]
    assert len(written(throttle, *(record("it failed", **each) for each in facts), *others)) == 5
    assert written(throttle, record("it failed", server="a", kind="x", seconds=2)) == []
    records = [logging.makeLogRecord({"name": "other", "msg": {"status": 503}}) for _ in range(5)]
    assert written(throttle, *records) == ["{'status': 503}"]
    assert (
        len(written(throttle, *(record("it failed", name="citemark.access") for _ in range(50))))
        == 50
    )


@given(st.lists(st.integers(0, 3000), max_size=60), st.integers(1, 4))
def test_every_line_is_written_or_counted(gaps, burst):
    clock = Clock()
    throttle = Throttle(burst=burst, every_s=1.0, clock=clock)
    seen = 0
    for gap in [*gaps, 10_000]:
        clock.now += gap / 1000
        for line in written(throttle, record("it failed")):
            seen += 1 + (int(line.split("(and ")[1].split()[0]) if "(and" in line else 0)
    assert seen == len(gaps) + 1


def test_wordings_without_end_take_bounded_room():
    throttle = Throttle()
    written(throttle, *(record(f"it {number}") for number in range(5_000)))
    assert len(throttle._passed) <= 1_024
