"""Replies of servers: the envelope, tokens that join to the text, what is repeated of an error."""

import contextlib
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import (
    JudgeError,
    JudgeRejected,
    JudgeUnreachable,
    JudgeUnreadable,
    PromptTooLong,
)
from citemark_service.judges.chat import ChatReply, Message, Token
from citemark_service.judges.server.reply import (
    MAX_REPLY_BYTES,
    align_tokens,
    decode_completion,
    quotable,
    to_status_error,
)
from citemark_service.judges.tasks import Usage
from support.scripted_judge import Listed, Reply, completion


def read_reply(body: bytes) -> ChatReply:
    envelope = decode_completion(body)
    return envelope.reply(envelope.cost())


def error_of(status: int, body: bytes) -> JudgeError:
    return to_status_error(status, body, None, [Message("user", "")])


def test_a_server_that_counts_nothing_still_counts_as_a_call():
    read = read_reply(b'{"choices":[{"message":{"content":"x"}}],"usage":null}')
    assert read.usage == Usage(calls=1)
    assert read.tokens is None


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"{}",
        b'{"choices":{}}',
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":[{"message":{"content":["x"]}}]}',
        b'{"error":{"message":"out of memory"},"choices":[{"message":{"content":"x"}}]}',
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        b'{"choices":[{"message":{"content":"\\ud800"}}]}',
        b'{"choices":' + b"[" * 100_000 + b"NaN",
        b'"' + b"x" * MAX_REPLY_BYTES + b'"',
    ],
    ids=range(13),
)
def test_any_other_envelope_is_unreadable(body):
    with pytest.raises(JudgeUnreadable):
        read_reply(body)


WHOLE = completion(Reply('{"1":2,"q":"é"}', tokens=(Listed('{"1":2,"q":"é"}', -0.5),)))


def test_a_body_that_ends_early_is_a_fault_of_the_way():
    for length in range(len(WHOLE)):
        with pytest.raises(JudgeUnreachable):
            read_reply(WHOLE[:length])


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (
            '{"prompt_tokens":-1,"completion_tokens":2,"prompt_tokens_details":[]}',
            Usage(1, 0, 0, 2),
        ),
        ('{"prompt_tokens":"1","completion_tokens":2.0}', Usage(1, 0, 0, 2)),
        ('{"prompt_tokens":null,"prompt_tokens_details":{"cached_tokens":NaN}}', Usage(1)),
        ('{"prompt_tokens":1e300,"completion_tokens":-Infinity}', Usage(1)),
        ("[7]", Usage(1)),
    ],
)
def test_odd_counts_cost_nothing(usage, counted):
    body = f'{{"choices":[{{"message":{{"content":"x"}}}}],"usage":{usage}}}'
    assert read_reply(body.encode()).usage == counted


@given(st.binary() | st.builds(msgspec.json.encode, st.dictionaries(st.text(), st.integers())))
def test_no_body_raises_anything_else(body):
    with contextlib.suppress(JudgeUnreadable, JudgeUnreachable):
        read_reply(body)
    assert isinstance(error_of(400, body), JudgeRejected)


def listed(*texts: str) -> list[Token]:
    return [Token(text, -float(place), msgspec.Raw(b"[{}]")) for place, text in enumerate(texts)]


FENCED = ("```", "json", "\n", '{"', "1", '":', "2", "}", "\n", "```", "")


@pytest.mark.parametrize(
    ("texts", "content", "kept"),
    [
        (('{"', "a", '":', "2", "}"), '{"a":2}', slice(None)),
        (("2", "<|im_end|>", ""), "2", slice(1)),
        (FENCED, '{"1":2}', slice(3, 8)),
    ],
    ids=["joined", "end of turn", "code fence"],
)
def test_tokens_that_the_text_leaves_out_are_dropped(texts, content, kept):
    tokens = listed(*texts)
    assert align_tokens(tokens, content) == tuple(tokens[kept])


def test_halves_of_a_character_become_one_token_and_verdicts_keep_their_places():
    tokens = listed('"', " \ufffd", "\ufffd\ufffd", 'x"', ":", "2", "")
    found = align_tokens(tokens, '" 🦦x":2')
    assert found == (tokens[0], Token(" 🦦"), *tokens[3:6])
    assert align_tokens(listed("a", "\ufffd", "\ufffd"), "aé") == (*listed("a"), Token("é"))


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
    shown: list[str] = []
    for text in texts:
        halved = text in ("é", "🦦") and data.draw(st.booleans())
        shown += ["\ufffd", "\ufffd"] if halved else [text]
    content = "".join(texts)
    found = align_tokens(listed(*shown), content)
    assert found is None or "".join(token.text for token in found) == content
    assert found is not None or "\ufffd" in shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"object":"error","message":"too long"}', ": too long"),
        (
            b'{"error":"Input validation error: x","error_type":"validation"}',
            ": Input validation error: x",
        ),
        (b'{"error":"No models loaded."}', ": No models loaded."),
        (b'{"message":"Unauthorized","request_id":"1"}', ": Unauthorized"),
        (
            b'{"error":{"message":{"detail":[{"loc":["body","n"],"msg":"extra","input":"secret"}]}}}',
            ": body.n: extra",
        ),
        (b'{"detail":[{"loc":["a",1],"msg":"x"},{"loc":["b"],"msg":"y"}]}', ": a.1: x; b: y"),
        (b"<html>secret</html>", ""),
        (b'{"detail":[{"input":"secret"}],"error":null}', ""),
        (b"\xff\xfe secret", ""),
        (b"[" * 100_000, ""),
    ],
    ids=range(10),
)
def test_a_servers_own_message_is_kept_and_no_other_body_quoted(body, words):
    assert str(error_of(400, body)) == f"the judge answered HTTP 400{words}"


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        ("This model's maximum context length is 32768 tokens. However, you requested 38685 tokens"
         " (38653 in the messages, 32 in the completion).", 32768 / 38685),
        ("'max_tokens' is too large: 400. This model's maximum context length is 32768 tokens and"
         " your request has 32500 input tokens (400 > 32768 - 32500).", 1),
        ("You passed 38653 input tokens and requested 400 output tokens. However, the model's"
         " context length is only 32768 tokens, resulting in a maximum input length of 32368"
         " tokens.", 32768 / 38653),
        ("The decoder prompt (length 38653) is longer than the maximum model length of 32768.",
         32768 / 38653),
        ("The input (38653 tokens) is longer than the model's context length (32768 tokens).",
         32768 / 38653),
        ("request (38653 tokens) exceeds the available context size (32768 tokens), try it larger",
         32768 / 38653),
        ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 32768. Given: 38653"
         " `inputs` tokens and 400 `max_new_tokens`", 32768 / 38653),
        ("Prompt contains 38653 tokens and 0 draft tokens, too large for model with 32768 maximum"
         " context length", 32768 / 38653),
        ("prompt is too long: 208,310 tokens > 200,000 maximum", 200_000 / 208_310),
        ("The prompt is too long: 38653, model maximum context length: 32768", 32768 / 38653),
        ("This model's maximum context length is 32768 tokens. However, your prompt contains at"
         " least 32769 input tokens, which exceeds this limit.", None),
        ("Please reduce the length of the messages or completion.", None),
        ("The number of tokens to keep from the initial prompt is greater than the context length.",
         None),
    ],
    ids=range(13),
)  # fmt: skip
def test_a_refusal_for_length_says_how_much_fits(words, fits):
    error = error_of(400, msgspec.json.encode({"error": {"message": words}}))
    assert isinstance(error, PromptTooLong)
    assert error.fits == pytest.approx(0.6 if fits is None else fits * 0.95)


@pytest.mark.parametrize("words", ["temperature 3 exceeds 2", "bad model", "logprobs is too large"])
def test_other_refusals_are_not_for_length(words):
    assert type(error_of(400, msgspec.json.encode({"error": words}))) is JudgeRejected


def test_a_message_is_cut_and_kept_to_one_printable_line():
    said = quotable("a\r\n\x1b[31mb" + "c" * 1000, [])
    assert said.startswith("a [31mbc")
    assert len(said) == 300


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(before=text, shared=st.text("abcdefgh ", min_size=60), after=text, around=text)
def test_a_message_that_echoes_the_prompt_is_dropped(before, shared, after, around):
    run = " ".join(shared.split())
    said = quotable(before + run + after, [Message("user", around + run + around)])
    assert len(run) < 23 or said == ""


def test_an_unrelated_message_survives_a_long_prompt():
    words = "This model's maximum context length is 4096 tokens."
    started = time.process_time()
    assert quotable(words, [Message("user", "an answer about otters " * 50_000)]) == words
    assert time.process_time() - started < 5
