"""Replies: every verdict once and on its menu, or a typed error; quotes found where copied."""

import json
import math
import re
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from citemark_schemas import WarningKind
from citemark_service.errors import InvalidVerdict, JudgeError, JudgeTruncated, JudgeUnreadable
from citemark_service.judges.chat import Alternative, ChatReply, Token
from citemark_service.judges.language.grammar import citation_layout, criteria_layout
from citemark_service.judges.language.replies import QuotedText, parse_reply, weigh_digit
from citemark_service.judges.tasks import Usage
from support.judge_tasks import filled

ONE = criteria_layout(1, quotes=False)
TWO = criteria_layout(2, quotes=False)
QUOTED = criteria_layout(1, quotes=True)
CITED = citation_layout((1, 2), 1)


def reply(content: str, finish_reason: str | None = "stop", tokens=None) -> ChatReply:
    return ChatReply(content, finish_reason, Usage(), tokens)


ids_per_claim = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
layouts = st.builds(criteria_layout, st.integers(1, 4), quotes=st.booleans()) | st.builds(
    citation_layout, ids_per_claim, st.integers(0, 3)
)


def test_layouts_are_as_documented():
    assert TWO.shape == '{"1":V,"2":V}'
    assert QUOTED.shape == '{"q1":"Q","1":V}'
    assert CITED.shape == '{"1":"SU","2":"SUCC","s1":F}'
    assert CITED.constraint.regex == r'\{"1":"[0-2][0-1]","2":"[0-2][0-1][0-1][0-1]","s1":[0-1]\}'


def test_verdicts_are_read_by_key_in_any_order():
    reading = parse_reply(reply('{"s1":1,"2":"2110","1":"01"}'), CITED)
    assert reading.digits == {"1": (0, 1), "2": (2, 1, 1, 0), "s1": (1,)}
    assert reading.scores == {"1": (0.0, 1.0), "2": (1.0, 1.0, 1.0, 0.0), "s1": (1.0,)}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", JudgeUnreadable),
        ('{"1":2,"2"', JudgeUnreadable),
        ('{"1":2,"2":0}}', JudgeUnreadable),
        ("[" * 100_000, JudgeUnreadable),
        ("[2,0]", JudgeUnreadable),
        ('{"1":2,"2":0,"3":1}', JudgeUnreadable),
        ('{"1":2}', InvalidVerdict),
        ('{"1":2,"2":0,"2":0}', InvalidVerdict),
        ('{"1":2,"2":3}', InvalidVerdict),
        ('{"1":2,"2":-1}', InvalidVerdict),
        ('{"1":2,"2":1.0}', InvalidVerdict),
        ('{"1":2,"2":true}', InvalidVerdict),
        ('{"1":2,"2":"1"}', InvalidVerdict),
        ('{"1":2,"2":NaN}', InvalidVerdict),
        ('{"1":2,"2":' + "1" * 5000 + "}", JudgeUnreadable),
    ],
)
def test_criteria_that_are_not_as_asked_for(content, error):
    with pytest.raises(error):
        parse_reply(reply(content), TWO)


@pytest.mark.parametrize("value", ['"2"', '"211"', '"31"', '"2१"', '"21\\n"', "21", "[2,1]", '""'])
def test_a_claim_is_exactly_its_digits(value):
    with pytest.raises(InvalidVerdict, match="verdict 1 "):
        parse_reply(reply(f'{{"1":{value},"2":"2111","s1":0}}'), CITED)


@pytest.mark.parametrize(
    ("reason", "error"), [("length", JudgeTruncated), ("content_filter", JudgeUnreadable)]
)
def test_a_reply_that_was_stopped_counts_for_nothing(reason, error):
    with pytest.raises(error):
        parse_reply(reply('{"1":2,"2":0}', reason), TWO)


@pytest.mark.parametrize("reason", [None, "", "eos_token", "STOP", "end_turn", "tool_calls"])
def test_a_reply_that_is_complete_counts_whatever_its_server_calls_the_end(reason):
    assert parse_reply(reply('{"1":2,"2":0}', reason), TWO).digits == {"1": (2,), "2": (0,)}
    with pytest.raises(JudgeUnreadable):
        parse_reply(reply('{"1":2,"2"', reason), TWO)


def test_messages_never_carry_the_reply():
    for content in ('{"secret":2}', '{"1":"secret","2":1}', "secret"):
        with pytest.raises(JudgeError) as raised:
            parse_reply(reply(content), TWO)
        assert "secret" not in str(raised.value)


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["1", "2", "x"]), inner),
    ).map(json.dumps)
)
@example('{"1":2,"2":1}')
def test_any_text_is_an_error_or_all_verdicts(content):
    try:
        reading = parse_reply(reply(content), TWO)
    except JudgeError:
        return
    assert reading.digits.keys() == {"1", "2"}
    assert all(0 <= score <= 1 for scores in reading.scores.values() for score in scores)


def fits(schema, values) -> bool:
    """Whether a flat object fits the few keywords that the schemas use."""
    properties = schema["properties"]
    return list(values) == schema["required"] == list(properties) and all(
        values[key] in rule["enum"] if "enum" in rule else re.search(rule["pattern"], values[key])
        for key, rule in properties.items()
    )


@given(st.data(), layouts)
def test_the_two_forms_of_a_constraint_and_the_reader_agree(data, layout):
    constraint = layout.constraint
    content = data.draw(st.from_regex(constraint.regex, fullmatch=True))
    assert fits(constraint.json_schema, json.loads(content, strict=False))
    if not any(ord(character) < 32 or character == "\x7f" for character in content):
        reading = parse_reply(reply(content), layout)
        assert {*reading.digits, *reading.quotes} == layout.keys


@given(layouts)
def test_the_longest_compact_reply_fits(layout):
    verdicts = sum(bool(field.tops) for field in layout.fields)
    quotes = len(layout.fields) - verdicts
    longest = filled(layout.shape, quote="")
    assert layout.max_tokens >= len(longest) + quotes * 160 // 3 + verdicts


def weighed(*pairs: tuple[str, float]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode([Alternative(*pair) for pair in pairs]))


@pytest.mark.parametrize(
    ("texts", "offered"),
    [
        (('{"1":', "2", "}"), ("2", "1", "x")),
        (('{"1', '":2', "}"), ('":2', '":1', '" 0')),
        (('{"1":', "2}"), ("2}", "1}", "0,")),
    ],
)
def test_the_score_is_the_mean_over_offered_digits_wherever_the_token_ends(texts, offered):
    likely, unlikely = math.log(0.6), math.log(0.2)
    others = weighed(*zip(offered, (likely, unlikely, -0.1), strict=True))
    tokens = tuple(Token(text, likely, others if "2" in text else weighed()) for text in texts)
    reading = parse_reply(reply("".join(texts), tokens=tokens), ONE)
    assert reading.digits["1"] == (2,)
    assert reading.scores["1"][0] == pytest.approx((0.75 * 2 + 0.25 * 1) / 2)
    assert reading.variance("1") == pytest.approx(0.75 * 0.25 / 4)


def test_each_digit_of_a_claim_is_weighed_in_its_own_place():
    tokens = (
        Token('{"1":"', 0.0),
        Token("21", math.log(0.5), weighed(("21", math.log(0.5)), ("11", math.log(0.5)))),
        Token('"}', 0.0),
    )
    reading = parse_reply(reply('{"1":"21"}', tokens=tokens), citation_layout((1,), 0))
    assert reading.scores["1"] == (pytest.approx(0.75), 1.0)
    assert reading.variances["1"] == (pytest.approx(0.0625), 0.0)


def test_a_quote_cannot_pose_as_a_verdict():
    content = r'{"q1":"\"1\":0","1":2}'
    either = weighed(("0", -0.5), ("2", -0.5))
    tokens = tuple(Token(c, -0.5, either if c in "02" else weighed()) for c in content)
    assert parse_reply(reply(content, tokens=tokens), QUOTED).scores["1"][0] == pytest.approx(0.5)


def test_tokens_of_another_text_are_not_used():
    tokens = (Token('{"1":', -0.1), Token("1", -0.1, weighed(("0", -0.1))), Token("}", -0.1))
    reading = parse_reply(reply('{"1":2}', tokens=tokens), ONE)
    assert reading.scores["1"] == (1.0,)


finite = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-30, 0)  # as all of JSON
logprobs = st.floats(allow_nan=True, allow_infinity=True) | finite


@given(
    st.integers(1, 2).flatmap(lambda top: st.tuples(st.just(top), st.integers(0, top))),
    logprobs,
    st.lists(st.tuples(st.sampled_from(["0", "1", "2", "9", "x", "2,"]), finite)),
)
def test_a_score_stays_within_the_hull_of_what_was_offered(verdict, logprob, alternatives):
    top, digit = verdict
    tokens = (Token(str(digit), logprob, weighed(*alternatives)),)
    mean, variance = weigh_digit(digit, top, (tokens[0], 0))
    offered = {int(text) for text, _ in alternatives if text in "012"[: top + 1]} | {digit}
    assert (variance is None) == (not alternatives or not math.isfinite(logprob))
    assert min(offered) / top <= mean <= max(offered) / top
    assert mean == digit / top if variance is None else 0 <= variance <= mean * (1 - mean) + 1e-12


@pytest.mark.parametrize(
    "listed",
    ["null", "[]", "{}", "[7]", '[{"token":"2","logprob":"-1"}]', '[{"token":"1","logprob":null}]'],
)
def test_a_verdict_whose_alternatives_are_unusable_is_bare_and_unsure_alone(listed):
    tokens = (
        Token('{"1":', -0.1),
        Token("1", -0.1, msgspec.Raw(listed.encode())),
        Token(',"2":', None),
        Token("1", -0.1, weighed(("1", -0.1), ("x", -3.0))),
        Token("}", -0.1),
    )
    reading = parse_reply(reply('{"1":1,"2":1}', tokens=tokens), TWO)
    assert reading.scores == {"1": (0.5,), "2": (0.5,)}
    assert (reading.variance("1"), reading.variance("2")) == (None, 0.0)
    assert (reading.caveats("1"), reading.caveats("2")) == ((WarningKind.UNSURE,), ())


ANSWER = (
    "The Alder viaduct opened in June 1871; its builders said “never again”. 桥在一八七一年开放。"
)


@pytest.mark.parametrize(
    ("quote", "held"),
    [
        ("opened in June 1871", True),
        ("THE ALDER  VIADUCT\nopened, in June 1871", True),
        ("its builders said 'never again'", True),
        ("The Alder viaduct opened in 1871; its builders said", True),
        ("一八七一年", True),
        ("", False),
        ("…", False),
        ("June 1872", False),
        ("opened June", False),
        ("the viaduct cost a great deal of money", False),
    ],
)
def test_copies_are_found_through_what_copying_changes_and_nothing_else(quote, held):
    assert QuotedText(ANSWER).holds(quote) is held


words = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=40)


@given(words, st.data())
def test_every_piece_of_a_text_is_found(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    assert QuotedText(" ".join(text)).holds(" ".join(text[start:stop]))


@given(words, st.lists(st.sampled_from("abcdefgxyz"), min_size=5, max_size=12))
def test_the_window_agrees_with_its_definition(text, quote):
    def shared(window: list[str]) -> int:
        return sum(min(window.count(word), quote.count(word)) for word in set(quote))

    windows = [text[at : at + len(quote)] for at in range(max(1, len(text) - len(quote) + 1))]
    expected = max(map(shared, windows)) / len(quote) >= 0.8
    assert QuotedText(" ".join(text)).holds(" ".join(quote)) == expected


def test_long_texts_take_linear_time():
    start = time.process_time()
    assert not QuotedText("la la " * 200_000).holds("la " * 50_000 + "x " * 50_000)
    # Each is 18 letters in NFKC.
    assert QuotedText("\ufdfa" * 500_000 + " end").holds("\ufdfa" * 500_000)
    assert time.process_time() - start < 5
