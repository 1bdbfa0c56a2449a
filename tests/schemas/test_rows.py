"""Rows under the names and in the shapes of data sets, as rollouts."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from citemark_schemas import EnvelopeError, Rollout, rollout_of, to_details

ANSWER = "<answer>Give fluids.</answer>"
SYSTEM = {"role": "system", "content": "Cite as <snippet id=X>."}
FEVER = {"role": "user", "content": "My son has a fever of 40 °C."}
AGE = {"role": "assistant", "content": "How old is he?"}
NOW = {"role": "user", "content": [{"type": "text", "text": "Three. What now?"}]}
FOUND = {"role": "tool", "content": "<snippet id=a>Fluids help.</snippet>"}
SAID = {"role": "assistant", "content": ANSWER}
TURNS = [("user", FEVER["content"]), ("assistant", AGE["content"])]
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nMy son has a fever of 40 °C."
    "<|im_end|>\n<|im_start|>assistant\nHow old is he?<|im_end|>\n<|im_start|>user\n"
    "Three. What now?<|im_end|>\n<|im_start|>assistant\n"
)
LLAMA = CHATML.replace("<|im_end|>", "<|eot_id|>")
for role in ("system", "user", "assistant"):
    LLAMA = LLAMA.replace(
        f"<|im_start|>{role}\n", f"<|start_header_id|>{role}<|end_header_id|>\n\n"
    )
GEMMA = CHATML.replace("<|im_start|>assistant", "<start_of_turn>model")
GEMMA = GEMMA.replace("<|im_start|>", "<start_of_turn>").replace("<|im_end|>", "<end_of_turn>")


def read(**row: Any) -> Rollout:
    return Rollout.model_validate(row)


def turns(rollout: Rollout) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in rollout.conversation or ()]


@pytest.mark.parametrize("name", ["messages", "prompt", "conversation"])
def test_a_chat_is_conversation_question_sources_and_response(name: str) -> None:
    rollout = read(**{name: [SYSTEM, FEVER, AGE, NOW, FOUND, SAID]})
    assert (rollout.question, rollout.response) == ("Three. What now?", ANSWER)
    assert rollout.tool_output == FOUND["content"]
    assert turns(rollout) == TURNS


@pytest.mark.parametrize("prompt", [[SYSTEM, FEVER, AGE, NOW], CHATML, LLAMA, GEMMA])
def test_a_prompt_gives_the_turns_before_its_question(prompt: Any) -> None:
    whole = read(prompt=prompt, response=ANSWER, tool_output="")
    given_apart = rollout_of({"label": {"tool_output": ""}}, response=ANSWER, prompt=prompt)
    inside = rollout_of({"info": {"tool_output": "", "prompt": prompt}}, response=ANSWER)
    for rollout in (whole, given_apart, inside):
        assert (rollout.question, turns(rollout)) == ("Three. What now?", TURNS)


@pytest.mark.parametrize("prompt", ["How long?", [{"role": "user", "content": "How long?"}]])
def test_a_single_turn_has_no_conversation(prompt: Any) -> None:
    plain = read(question="How long?", tool_output="", response=ANSWER)
    assert read(prompt=prompt, tool_output="", response=ANSWER) == plain
    assert rollout_of({"row": {"tool_output": ""}}, response=ANSWER, prompt=prompt) == plain


def test_what_a_row_says_is_stronger_than_its_chat() -> None:
    chat = [FEVER, AGE, NOW, SAID]
    rollout = read(messages=chat, question="Own?", response="own", tool_output="")
    assert (rollout.question, rollout.response, rollout.tool_output) == ("Own?", "own", "")
    assert turns(rollout) == TURNS


DOCUMENTS = [
    {"title": "Fevers", "content": "Fluids help.", "url": "https://a.example", "score": 0.3},
    {"id": 7, "text": "Rest helps.", "paper_id": 3},
    "Sleep helps.",
]


@pytest.mark.parametrize(("name", "number"), [("documents", 1), ("ctxs", 0), ("docs", 1)])
def test_documents_are_numbered_snippets(name: str, number: int) -> None:
    rollout = read(query="q", response="", **{name: DOCUMENTS})
    held = rollout_of({"row": {"query": "q", name: DOCUMENTS}}, response="")
    assert rollout == held
    first, second, third = rollout.snippets or ()
    assert (first.id, first.shown) == (str(number), "Fevers (https://a.example)\nFluids help.")
    assert (second.id, second.paper_id, second.shown) == ("7", "3", "Rest helps.")
    assert (third.id, third.shown) == (str(number + 2), "Sleep helps.")


@pytest.mark.parametrize("name", ["id", "sample_id", "prompt_id", "qid"])
@pytest.mark.parametrize("value", [3, "3"])
def test_ids_may_be_numbers_under_other_names(name: str, value: Any) -> None:
    assert read(question="q", tool_output="", response="", **{name: value}).id == "3"


REFUSED = {
    "two questions": ({"question": "a", "query": "b", "docs": []}, "query", "'question'"),
    "two lists": ({"query": "a", "documents": [], "snippets": ["b"]}, "documents", "'snippets'"),
    "no text": ({"query": "a", "docs": ["x", {"id": "b"}]}, "docs[1].text", "'content'"),
    "a number taken": ({"query": "a", "docs": ["x", {"id": 1, "text": ""}]}, "docs[0]", "an id"),
}


@pytest.mark.parametrize(("row", "place", "word"), REFUSED.values(), ids=REFUSED)
def test_what_is_unclear_is_refused_by_name(row: Any, place: str, word: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(response="", **row)
    (detail,) = to_details(caught.value)
    assert detail.loc == place
    assert word in detail.message
    with pytest.raises(EnvelopeError) as refused:
        rollout_of({"row": row}, response="")
    assert refused.value.details[0].loc == f"row.{place}"


@pytest.mark.parametrize("kind", ["image", "image_url", "input_image", "audio_url"])
def test_what_the_judge_cannot_see_is_refused_where_it_would_be_read(kind: str) -> None:
    asked = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": kind}]}]
    with pytest.raises(ValidationError, match="cannot see"):
        read(messages=asked, tool_output="", response="")
    with pytest.raises(EnvelopeError, match="cannot see"):
        rollout_of({"row": {"tool_output": ""}}, response="", prompt=asked)
    told = {"question": "Which bird?", "conversation": [FEVER], "tool_output": ""}
    assert read(messages=asked, response="", **told).question == "Which bird?"


def test_sharegpt_is_a_chat() -> None:
    chat = [{"from": "human", "value": "How long?"}, {"from": "gpt", "value": ANSWER}]
    for name in ("conversations", "messages"):
        rollout = read(**{name: chat}, tool_output="")
        assert (rollout.question, rollout.response) == ("How long?", ANSWER)


def test_documents_beside_a_tool_output_are_the_data_sets_own() -> None:
    row = {"question": "q", "tool_output": "x", "docs": DOCUMENTS}
    assert rollout_of({"row": row}, response="").snippets is None
    with pytest.raises(ValidationError, match="docs"):
        read(response="", **row)


TEXT = st.text(max_size=6)
CELL = st.none() | st.integers() | TEXT | st.lists(st.dictionaries(TEXT, TEXT, max_size=2))
NAMES = [
    "question", "query", "documents", "ctxs", "docs", "snippets", "messages", "prompt",
    "conversation", "prompt_id", "qid", "tool_output", "response",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), CELL))
def test_any_row_is_read_once_and_for_all_or_refused(row: dict[str, Any]) -> None:
    try:
        rollout = Rollout.model_validate(row)
    except ValidationError:
        return
    assert Rollout.model_validate(rollout.model_dump()) == rollout
    assert Rollout.model_validate_json(rollout.model_dump_json()) == rollout


def test_hostile_chats_and_documents_take_linear_time() -> None:
    begun = time.process_time()
    chat = [FEVER, AGE] * 50_000 + [NOW]
    assert len(turns(read(messages=chat, tool_output="", response=""))) == 100_000
    templated = "<|im_start|>user\n" * 200_000
    assert read(prompt=templated, tool_output="", response="", question="q").question == "q"
    assert len(read(query="q", docs=["x"] * 5_000, response="").snippets or ()) == 5_000
    assert time.process_time() - begun < 30


def test_two_chats_ask_one_thing() -> None:
    told = {"messages": [FEVER], "tool_output": "", "response": ANSWER}
    asked = FEVER["content"]
    assert read(prompt=f"Use the sources.\n{asked}", **told).question.endswith(asked)
    with pytest.raises(ValidationError, match="and 'prompt' are two names of one thing"):
        read(prompt="Something else?", **told)
