"""What is the policy's and what the prompt's, in texts and messages as trainers send them."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from citemark_schemas import (
    continuation,
    question_in,
    reply_in,
    sources_in,
    tools_in,
    unwrap_response,
)

HEADER = "<|im_start|>assistant\n"
PROMPT = f"<|im_start|>user\nHow long is the caf\u00e9 bridge?<|im_end|>\n{HEADER}"
ANSWER = "<answer>312 metres.</answer>"

texts = st.text(alphabet="ab <|>\n", max_size=60)


@given(prompt=st.text(min_size=1).filter(str.strip), response=st.text())
def test_an_equal_prefix_is_cut_exactly(prompt, response):
    assert continuation(prompt + response, prompt) == response


@pytest.mark.parametrize(
    "decoded",
    [
        "<s>" + PROMPT,
        " " + PROMPT,
        PROMPT.replace("\u00e9", "e\u0301"),
        PROMPT.replace("How long", "How  long"),
        "<|begin_of_text|><|begin_of_text|>" + PROMPT.replace("?", " ?"),
    ],
)
def test_a_prompt_that_decoding_changed_is_still_cut(decoded):
    said = ANSWER + "<|im_start|>assistant\nmore"
    found = continuation(decoded + said, PROMPT)
    assert found is not None
    assert found.removeprefix("\n") == said


@pytest.mark.parametrize(
    ("whole", "prompt"),
    [
        (ANSWER, PROMPT),
        ("a short other text " + ANSWER, PROMPT),
        (PROMPT[: len(PROMPT) // 2] + ANSWER, PROMPT),
        # The policy repeats the prompt.
        (PROMPT.replace("assistant", "model") + ANSWER + PROMPT, PROMPT),
        (PROMPT + ANSWER, ""),
        (PROMPT + ANSWER, "\n"),
    ],
)
def test_a_text_without_its_prompt_is_not_guessed_at(whole, prompt):
    assert continuation(whole, prompt) is None


def test_several_turns_are_all_the_prompt():
    prompt = PROMPT + "<answer>forged</answer><|im_end|>\n" + PROMPT
    whole = "<s>" + prompt + ANSWER
    assert continuation(whole, prompt) == ANSWER


@pytest.mark.parametrize("pad", ["<|endoftext|>", "<pad>", "\n[PAD]", "<|finetune_right_pad_id|>"])
@pytest.mark.parametrize("prompt", [PROMPT, "Hi?", "</s>" + PROMPT])
def test_a_prompt_may_be_padded_on_its_left(pad, prompt):
    assert continuation(8 * pad + prompt + ANSWER, prompt) == ANSWER
    assert continuation(3_000 * pad + "<s>" + PROMPT + ANSWER, PROMPT) == ANSWER


@given(prompt=texts, response=texts, noise=st.sampled_from(["<s>", " ", "\ufffd"]))
@example(prompt="<", response=" <", noise="<s>")
def test_no_more_than_the_response_is_ever_returned(prompt, response, noise):
    found = continuation(noise + prompt + response, prompt)
    assert found is None or len(found.strip()) <= len(response) + len(noise)


@pytest.mark.parametrize(
    ("response", "plain"),
    [
        (ANSWER + "<|im_end|>\n<|endoftext|><|endoftext|>", ANSWER),
        (ANSWER + "</s>", ANSWER),
        (HEADER + ANSWER, "\n" + ANSWER),
        ("<s> " + ANSWER + " ", " " + ANSWER + " "),
        ("a <|im_end|> b", "a <|im_end|> b"),
        ("", ""),
    ],
)
def test_template_tokens_around_a_response_are_taken_off(response, plain):
    assert unwrap_response(response) == plain


def test_reasoning_that_the_template_began_is_marked_as_such():
    prompt = PROMPT + "<think>\n"
    assert unwrap_response("hm" + ANSWER, prompt) == "<think>hm" + ANSWER
    assert unwrap_response(ANSWER, [{"role": "user", "content": "<think>"}]) == ANSWER


@given(st.text())
def test_taking_tokens_off_twice_changes_nothing(text):
    once = unwrap_response(text + "</s>")
    assert unwrap_response(once) == once


MESSAGES = [
    {"role": "system", "content": "Cite."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "tool", "content": "<snippet id=a>1</snippet>"},
    {"type": "function_call_output", "output": "<snippet id=b>2</snippet>"},
    {"role": "user", "content": [{"type": "input_text", "text": "Second?"}, {"type": "image"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It."}]},
]


def test_messages_are_told_apart_by_role():
    assert question_in(MESSAGES) == "Second?"
    assert tools_in(MESSAGES) == "<snippet id=a>1</snippet>\n<snippet id=b>2</snippet>"
    assert sources_in(MESSAGES) == tools_in(MESSAGES)
    assert reply_in(MESSAGES) == "It."
    assert reply_in(MESSAGES[:2]) == ""
    assert tools_in(MESSAGES[:3]) is None


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>system\nx<|im_end|>\n<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n",
        "<|start_header_id|>user<|end_header_id|>\n\nHow?<|eot_id|><|start_header_id|>assistant",
        "<bos><start_of_turn>user\nHow?<end_of_turn>\n<start_of_turn>model\n",
        " How? ",
    ],
)
def test_a_templated_prompt_gives_its_last_question(text):
    assert question_in(text) == "How?"


@pytest.mark.parametrize(
    "nothing", [None, 3, "", "  ", [], [3], [{"role": "system"}], {"role": "x"}]
)
def test_a_prompt_that_says_nothing_gives_nothing(nothing):
    assert question_in(nothing) is None
    assert sources_in(nothing) is None


def test_hostile_texts_take_linear_time():
    start = time.process_time()
    flood = "<|im_end|> " * 100_000
    assert unwrap_response(flood + "x" + flood) == flood + "x"
    assert unwrap_response(" " * 5_000_000) == " " * 5_000_000
    assert continuation("y" + "ab" * 500_000, "ab" * 250_000) is not None
    assert question_in("<|im_start|>user" * 75_000) is None
    assert time.process_time() - start < 2.5
