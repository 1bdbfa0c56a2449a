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
def test_any_text_is_one_line_of_valid_json(message: str, fact: str, rollout: str) -> None:
    with log_context(rollout=rollout):
        line = JsonLines().format(record("%s", message, question=fact))
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    read_again = json.dumps(read, ensure_ascii=False).encode()  # no half characters
    assert json.loads(read_again) == read
    assert read.keys() >= {"time", "level", "logger", "message", "question", "rollout"}


@given(HOSTILE, HOSTILE)
def test_any_text_is_one_line_of_text(message: str, rollout: str) -> None:
    with log_context(rollout=rollout):
        line = TextLines().format(record("%s", message))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    line.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_json_keeps_the_text_as_it_was(text: str) -> None:
    assert json.loads(JsonLines().format(record("%s", text)))["message"] == text


def test_the_parts_of_a_json_line() -> None:
    set_log_context(request="r-1")
    made = record("call to %s failed", "gpu1", server="gpu1", seconds=0.25)
    made.created = 1_700_000_000.5
    with log_context(rollout="7"):
        assert json.loads(JsonLines().format(made)) == {
            "request": "r-1",
            "rollout": "7",
            "server": "gpu1",
            "seconds": 0.25,
            "time": "2023-11-14T22:13:20.500Z",
            "level": "info",
            "logger": "citemark.x",
            "message": "call to gpu1 failed",
        }


def test_a_line_of_text_ends_with_whose_it_is() -> None:
    set_log_context(request="r-1")
    with log_context(rollout="a b", attempt=2):
        line = TextLines().format(record("asked"))
    assert line.endswith('INFO citemark.x asked request=r-1 rollout="a b" attempt=2')


def test_a_line_of_text_does_not_repeat_what_it_says() -> None:
    set_log_context(request="r-1")
    line = TextLines().format(record("status=200 id=r-1", request="r-1"))
    assert line.endswith("status=200 id=r-1")


def break_loudly() -> None:
    raise ValueError("\x1b[31mred")


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_a_defect_comes_with_its_traceback(lines: logging.Formatter) -> None:
    made = record("broke")
    try:
        break_loudly()
    except ValueError:
        made.exc_info = sys.exc_info()
    text = lines.format(made)
    assert "Traceback" in text
    assert "[31mred" in text
    assert "\x1b" not in text


def test_facts_are_bound_for_as_long_as_their_context_lasts() -> None:
    set_log_context(request="r-1")
    with log_context(rollout="1", attempt=1):
        with log_context(attempt=2):
            assert get_log_context() == {"request": "r-1", "rollout": "1", "attempt": 2}
        assert get_log_context() == {"request": "r-1", "rollout": "1", "attempt": 1}
    assert get_log_context() == {"request": "r-1"}
