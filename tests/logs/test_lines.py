"""Lines of the log: one a record, valid whatever is in it, and of the right request."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.telemetry.logs import (
    JsonLines,
    TextLines,
    get_log_context,
    log_context,
    log_fields,
    set_log_context,
)

HOSTILE = st.text(st.characters(), max_size=80) | st.sampled_from(
    ['"', "\\", "a\nb", "\x1b[2J", "\u2028", "\ud800", "\udfff\ud800", "\x00", "\u202eevil", "}\n{"]
)


def record(message: str = "said", *args: object, **facts) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "citemark.x", "levelno": logging.INFO, "levelname": "INFO", "msg": message}
    )
    made.args = args
    if facts:
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


def test_facts_are_bound_for_as_long_as_their_context_lasts():
    set_log_context(request="r-1")
    with log_context(rollout="1", attempt=1):
        with log_context(attempt=2):
            assert get_log_context() == {"request": "r-1", "rollout": "1", "attempt": 2}
        assert get_log_context() == {"request": "r-1", "rollout": "1", "attempt": 1}
    assert get_log_context() == {"request": "r-1"}
