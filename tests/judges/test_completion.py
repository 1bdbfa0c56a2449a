"""Reading completions: the envelope, the bill, and tokens that join to the text."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import JudgeUnreadable
from citemark_service.judges.chat import Alternative, ChatReply, Token
from citemark_service.judges.server.reply import MAX_REPLY_BYTES, align_tokens, decode_completion
from citemark_service.judges.tasks import Usage
from support.scripted_judge import Listed, Reply, completion


def read_reply(body: bytes) -> ChatReply:
    envelope = decode_completion(body)
    return envelope.reply(envelope.cost())


def test_a_reply_is_read_with_its_bill_and_its_tokens():
    tokens = (Listed("{", -0.5), Listed("1", -0.1, (("1", -0.1), ("0", -2.4))), Listed("}"))
    reply = Reply("{1}", "stop", tokens, prompt_tokens=7, cached_tokens=4, completion_tokens=3)

    read = read_reply(completion(reply))

    assert read.content == "{1}"
    assert read.finish_reason == "stop"
    assert read.usage == Usage(calls=1, prompt_tokens=7, cached_tokens=4, completion_tokens=3)
    assert read.tokens is not None
    assert (read.tokens[1].text, read.tokens[1].logprob) == ("1", -0.1)
    assert read.tokens[1].alternatives == [Alternative("1", -0.1), Alternative("0", -2.4)]


def test_reasoning_is_never_read_for_content():
    body = completion(Reply(None, reasoning='{"C1": 2}'))

    with pytest.raises(JudgeUnreadable, match="no content"):
        read_reply(body)
    assert decode_completion(body).cost().calls == 1  # paid for all the same


def test_a_server_that_counts_nothing_still_counts_as_a_call():
    read = read_reply(b'{"choices":[{"message":{"content":"x"}}],"usage":null}')

    assert read.usage == Usage(calls=1)
    assert read.tokens is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"busy",
        b'{"choices":[{"message":{"content":"x"}}]',
        b'{"choices":{}}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":[{"message":{"content":["x"]}}]}',
        b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":-1}}',
        b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":"1"}}',
        b'{"choices":[{"message":{"content":"x"},"logprobs":{"content":[{"token":1}]}}]}',
        b'{"error":{"message":"out of memory"},"choices":[{"message":{"content":"x"}}]}',
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        b'{"choices":[{"message":{"content":"\\ud800"}}]}',
        b'{"x":' + b"[" * 100_000,
        b"[" * 100_000,
        b'"' + b"x" * MAX_REPLY_BYTES + b'"',
    ],
    ids=range(18),
)
def test_any_other_envelope_is_unreadable(body):
    with pytest.raises(JudgeUnreadable):
        decode_completion(body)


def test_no_choice_and_no_content_are_unreadable():
    for body in (b"{}", b'{"choices":[]}', b'{"choices":[{"message":{"content":null}}]}'):
        with pytest.raises(JudgeUnreadable):
            read_reply(body)


@given(st.binary() | st.builds(msgspec.json.encode, st.dictionaries(st.text(), st.integers())))
def test_no_body_raises_anything_else(body):
    with contextlib.suppress(JudgeUnreadable):
        read_reply(body)


def listed(*texts: str) -> list[Token]:
    return [Token(text, -float(place), msgspec.Raw(b"[{}]")) for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "content", "kept"),
    [
        (('{"', "a", '":', "2", "}"), '{"a":2}', slice(None)),
        (("2", "<|im_end|>", ""), "2", slice(1)),
        (
            ("```", "json", "\n", '{"', "1", '":', "2", "}", "\n", "```", ""),
            '{"1":2}',
            slice(3, 8),
        ),
    ],
    ids=["joined", "end of turn", "code fence"],
)
def test_tokens_that_the_text_leaves_out_are_dropped(texts, content, kept):
    tokens = listed(*texts)
    assert align_tokens(tokens, content) == tuple(tokens[kept])


def test_halves_of_a_character_become_one_token_and_verdicts_keep_their_places():
    tokens = listed('"', " \ufffd", "\ufffd\ufffd", 'x"', ":", "2", "")
    found = align_tokens(tokens, '" 🦦x":2')

    assert found is not None
    assert [token.text for token in found] == ['"', " 🦦", 'x"', ":", "2"]
    assert found[1] == Token(" 🦦", -3.0)
    assert found[-1] == tokens[5]


def test_halves_at_the_end_are_merged_too():
    found = align_tokens(listed("a", "\ufffd", "\ufffd"), "aé")

    assert found is not None
    assert [token.text for token in found] == ["a", "é"]


@pytest.mark.parametrize(
    ("texts", "content"),
    [
        (("2",), "1"),
        (("1",), "12"),
        (("1", "2"), "2"),
        (("\ufffd", "2"), "é12"),
        (("a", "\ufffd"), "ab"),
        (("think", "2"), "2"),
    ],
)
def test_tokens_that_tell_another_text_are_not_used(texts, content):
    assert align_tokens(listed(*texts), content) is None


@given(st.lists(st.text(st.sampled_from('01{":,é🦦x'), min_size=1), max_size=30), st.data())
def test_tokens_always_join_to_the_text(texts, data):
    content = "".join(texts)
    shown = [
        piece
        for text in texts
        for piece in (
            ["\ufffd", "\ufffd"] if text in ("é", "🦦") and data.draw(st.booleans()) else [text]
        )
    ]
    found = align_tokens(listed(*shown), content)

    assert found is None or "".join(token.text for token in found) == content
    assert found is not None or "\ufffd" in shown


@given(st.lists(st.text(max_size=5)), st.text(max_size=30))
def test_whatever_is_listed_joins_or_is_refused(texts, content):
    found = align_tokens(listed(*texts), content)

    assert found is None or "".join(token.text for token in found) == content
