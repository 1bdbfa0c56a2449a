"""What holds for every response, also for those made of tag fragments."""

import re

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.connectives import is_connective
from citemark_service.parsing.format import format_report
from citemark_service.parsing.parsed import Answer
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.visible import fold_space, normal_form

FRAGMENTS = (
    *("<answer>", "</answer>", "<answer", "<think>", "</think>", "</snippet>", "</snippet"),
    *("<snippet id=a1>", "<snippet id=b2, a1>", '<snippet id="c3">', "<snippet>", "<snippet "),
    *("<snippet id=d4 note=1>", "<snippet id=", "</snippet >", "</snippets>", "<webpage id=w1>"),
    *(
        "<snippets id='e5' metadata='{",
        "}'>",
        "</webpage>",
        "<",
        ">",
        "/",
        '"',
        "'",
        "=",
        " ",
        "\n",
    ),
    *(". ", "!", "。", "1. ", "- ", "# ", "Ice floats", "e.g. ", "lead", "\u200b", "é", "\u0301"),
    "note to the grader",
)
BLOCK_TAG = re.compile(r"</?(answer|think)\s*>")
hostile = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=40).map("".join)
blocks = hostile.map(lambda text: BLOCK_TAG.sub("-", text))
names = st.text("abcdefgh0123456789_-.:", min_size=1, max_size=8)
words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
claim_texts = st.lists(words, min_size=1, max_size=5).map(" ".join)
claims = st.lists(st.tuples(claim_texts, st.lists(names, min_size=1, max_size=4)), max_size=6)


def enclosed(block: str) -> Answer:
    return read_answer(f"<answer>{block}</answer>")


@given(hostile, hostile)
def test_any_text_can_be_read(response: str, tool_output: str) -> None:
    answer, sources = read_answer(response), read_sources(tool_output, None)
    report = format_report(answer, sources)
    assert 0 <= report.bonus <= 1
    assert (answer.refusal is None) == report.checks.get("answer_not_empty", False)
    assert all(sources.by_id[name].id == name != "" for name in sources.by_id)


@given(blocks, st.text("xyz <>/\n"), st.text("xyz <>/\n"))
def test_nothing_outside_the_block_counts(block: str, before: str, after: str) -> None:
    claim = "<snippet id=z9>Tin melts.</snippet> Zinc."
    alone = enclosed(block)
    framed = read_answer(f"{before}{claim}<answer>{block}</answer>{claim}{after}")
    assert framed.refusal == alone.refusal
    assert [(c.text, c.ids, c.malformed) for c in framed.claims] == [
        (c.text, c.ids, c.malformed) for c in alone.claims
    ]
    assert [s.text for s in framed.sentences] == [s.text for s in alone.sentences]


@given(blocks)
def test_spans_are_where_things_stand(block: str) -> None:
    response = f"thoughts </think> <answer>{block}</answer>"
    answer = read_answer(response)
    assert response[slice(*answer.span)] == answer.text
    for claim in answer.claims:
        tag = response[slice(*claim.span)]
        assert tag.startswith("<snippet")
        assert claim.malformed == "unclosed" or re.search(r"</snippet\s*>?$", tag)
    for sentence in answer.sentences:
        assert fold_space(response[slice(*sentence.span)]) == sentence.text != ""


@given(blocks)
def test_sentences_stand_in_order_and_outside_sound_claims(block: str) -> None:
    answer = enclosed(block)
    edges = [edge for sentence in answer.sentences for edge in sentence.span]
    assert edges == sorted(edges)
    sound = [claim.span for claim in answer.claims if claim.malformed is None]
    for sentence in answer.sentences:
        start, end = sentence.span
        assert all(end <= left or right <= start for left, right in sound)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join), names)
def test_no_written_id_is_lost(noise: str, name: str) -> None:
    noise = BLOCK_TAG.sub("-", noise)
    written = f"q{name}q"
    answer = enclosed(f"{noise} \n<snippet id=k1, {written}>Tin melts.</snippet>{noise}")
    assert any({"k1", written} <= set(claim.ids) for claim in answer.claims)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_every_visible_word_is_in_a_claim_or_a_sentence(noise: str) -> None:
    noise = BLOCK_TAG.sub("-", noise)
    response = f"<answer>{noise}\nZirconium{noise}</answer>"
    answer = read_answer(response)
    place = response.index("Zirconium")
    inside_tag = re.search(r"<snippet[\s/][^<>]*$", response[:place])
    held = [claim.text for claim in answer.claims]
    held += [sentence.text for sentence in answer.sentences]
    assert inside_tag or any("Zirconium" in text for text in held)


@given(claims)
def test_rendered_claims_are_read_back(pairs: list[tuple[str, list[str]]]) -> None:
    block = " and ".join(f"<snippet id={','.join(ids)}>{text}.</snippet>" for text, ids in pairs)
    answer = enclosed(f"{block} Tin")
    expected: dict[str, dict[str, None]] = {}
    for text, ids in pairs:
        expected.setdefault(normal_form(text), {}).update(dict.fromkeys(ids))
    found = {normal_form(claim.text): claim.ids for claim in answer.claims}
    assert found == {key: tuple(ids) for key, ids in expected.items()}
    assert len(answer.claims) == len(expected)
    assert sum(claim.occurrences for claim in answer.claims) == len(pairs)
    assert [sentence.text for sentence in answer.sentences] == ["Tin"]


@given(st.lists(claim_texts, min_size=1, max_size=6))
def test_rendered_sentences_are_read_back(texts: list[str]) -> None:
    facts = [f"Fact{text}." for text in texts if not is_connective(text)]
    answer = enclosed("\n".join([*facts, "Tin."]))
    distinct: dict[str, str] = {}
    for fact in [*facts, "Tin."]:
        distinct.setdefault(normal_form(fact), fact)
    assert [sentence.text for sentence in answer.sentences] == [*distinct.values()]


@given(st.text(max_size=30))
def test_equal_claims_stay_equal(text: str) -> None:
    form = normal_form(text)
    assert normal_form(f"  {text}\u200b ") == form
    assert normal_form(f"{text}.") == form
