"""Statuses, Retry-After and what is repeated of a server's words."""

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import (
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreadable,
)
from citemark_service.judges.chat import Message
from citemark_service.judges.server.reply import quotable, to_status_error


def user(text: str) -> Message:
    return Message("user", text)


def error_of(status: int, body: bytes = b"", prompt: str = "") -> JudgeError:
    return to_status_error(status, body, None, [user(prompt)])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (204, JudgeUnreadable),
        (302, JudgeRejected),
        (400, JudgeRejected),
        (401, JudgeRejected),
        (404, JudgeRejected),
        (408, JudgeTimeout),
        (422, JudgeRejected),
        (429, JudgeOverloaded),
        (500, JudgeServerError),
        (502, JudgeServerError),
        (503, JudgeOverloaded),
        (504, JudgeServerError),
    ],
)
def test_each_status_has_its_error_and_is_named(status, error):
    found = error_of(status)

    assert type(found) is error
    assert str(status) in str(found)


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"too long"}}', b'{"object":"error","message":"too long"}']
)
def test_the_servers_own_message_is_kept(body):
    assert str(error_of(400, body)) == "the judge answered HTTP 400: too long"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>secret</html>",
        b'{"error":"secret"}',
        b'{"detail":[{"input":"secret"}]}',
        b'{"error":{"message":["secret"]}}',
        b"\xff\xfe secret",
        b"[" * 100_000,
    ],
)
def test_any_other_body_is_not_quoted(body):
    assert str(error_of(400, body)) == "the judge answered HTTP 400"


def test_a_message_is_cut_and_kept_to_one_printable_line():
    said = quotable("a\r\n\x1b[31mb" + "c" * 1000, [])

    assert said.startswith("a [31mbc")
    assert len(said) == 300


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(before=text, shared=st.text("abcdefgh ", min_size=60), after=text, around=text)
def test_a_message_that_echoes_the_prompt_is_dropped(before, shared, after, around):
    run = " ".join(shared.split())
    said = quotable(before + run + after, [user(around + run + around)])

    assert len(run) < 23 or said == ""


def test_an_unrelated_message_survives_a_long_prompt():
    words = "This model's maximum context length is 4096 tokens."
    started = time.process_time()

    assert quotable(words, [user("an answer about otters " * 50_000)]) == words
    assert time.process_time() - started < 5


@given(st.binary() | st.builds(msgspec.json.encode, st.dictionaries(st.text(), st.integers())))
def test_no_body_raises(body):
    assert isinstance(error_of(400, body), JudgeRejected)
