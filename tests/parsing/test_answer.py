"""The answer block and its claims, by example."""

import pytest

from citemark_schemas import RefusalKind
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Answer, Claim


def read_block(block: str) -> Answer:
    answer = read_answer(f"<answer>{block}</answer>")
    assert answer.refusal is None
    return answer


def only_claim(block: str) -> Claim:
    (claim,) = read_block(block).claims
    return claim


@pytest.mark.parametrize(
    ("refusal", "responses"),
    [
        (
            RefusalKind.NO_ANSWER,
            ["", "Rivers freeze from the top.", "<answer>Rivers freeze", "Rivers freeze</answer>",
             "</answer>Rivers freeze<answer>", "<think><answer>Rivers freeze</answer>",
             " \n<THINK>hm <answer>Rivers freeze</answer>",
             "<answer>Rivers</think> freeze</answer>"],
        ),
        (
            RefusalKind.SEVERAL_ANSWERS,
            ["<answer>a fact</answer><answer>b fact</answer>", "<answer>a <answer>fact</answer>",
             "<answer>a fact</answer></answer>"],
        ),
        (
            RefusalKind.EMPTY_ANSWER,
            ["<answer></answer>", "<answer> \n…!\u200b\u3164</answer>",
             "<answer><snippet id=a1></snippet><b></b></answer>"],
        ),
    ],
)  # fmt: skip
def test_refuses_what_is_not_one_answer(refusal: RefusalKind, responses: list[str]) -> None:
    for response in responses:
        assert read_answer(response) == Answer(refusal=refusal), response


@pytest.mark.parametrize(
    "response",
    [
        "<answer>Ice floats</answer>",
        "noise <ANSWER >Ice floats</Answer\t> noise",
        "<think>an <answer>draft</answer></think><answer>Ice floats</answer>",
        "prefilled thoughts </think> <answer>Ice floats</answer>",
    ],
)
def test_reads_the_one_block(response: str) -> None:
    answer = read_answer(response)
    assert answer.text == "Ice floats"
    assert response[slice(*answer.span)] == "Ice floats"


@pytest.mark.parametrize(
    ("tag", "ids"),
    [
        ("<snippet id=S_1>", ("S_1",)),
        ("<snippet id=S_1,S_2>", ("S_1", "S_2")),
        ("<snippet id=S_1, S_2>", ("S_1", "S_2")),
        ("<snippet id=S_2;S_1 S_2>", ("S_2", "S_1")),
        ('<snippet id="S_1, S_2">', ("S_1", "S_2")),
        ("<snippet id='S_1'>", ("S_1",)),
        ('<snippet id="S_1", "S_2">', ("S_1", "S_2")),
        ("<snippet id=“S_1”>", ("S_1",)),
        ('<snippet id="S_1>', ("S_1",)),
        ("<SNIPPET\n ID = S_1 >", ("S_1",)),
        ("<snippet id=S_1 id=S_2>", ("S_1", "S_2")),
        ("<snippet id=https://a.example/b?c=1/>", ("https://a.example/b?c=1/",)),
    ],
)
def test_reads_every_way_to_write_ids(tag: str, ids: tuple[str, ...]) -> None:
    claim = only_claim(f"{tag}Ice floats.</snippet>")
    assert (claim.text, claim.ids, claim.malformed) == ("Ice floats.", ids, None)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("<snippet id=a1>  </snippet>fact", [("", ("a1",), "empty")]),
        ("<snippet id=a1>\u200b…</snippet>fact", [("\u200b…", ("a1",), "empty")]),
        ("<snippet>fact</snippet>", [("fact", (), "no_id")]),
        ("<snippet id=>fact</snippet>", [("fact", (), "no_id")]),
        ("<snippet a1>fact</snippet>", [("fact", (), "no_id")]),
        ("<snippet id=a1 note=x>fact</snippet>", [("fact", ("a1",), "junk_attribute")]),
        ("<snippet id=a1>fact", [("fact", ("a1",), "unclosed")]),
        ('<snippet id="a1" /> fact', [("fact", ("a1",), "unclosed")]),
        ("<snippet id=a1, b2 fact", [("fact", ("a1", "b2"), "unclosed")]),
        (
            "<snippet id=a1>one <snippet id=b2>two</snippet>",
            [("one", ("a1",), "unclosed"), ("two", ("b2",), None)],
        ),
        (
            "<snippet id=a1>one <snippet id=b2>two</snippet> three</snippet>",
            [("one three", ("a1",), "nested"), ("two", ("b2",), "nested")],
        ),
    ],
)
def test_names_each_defect(block: str, expected: list[tuple[str, tuple[str, ...], str]]) -> None:
    answer = read_block(block)
    assert [(claim.text, claim.ids, claim.malformed) for claim in answer.claims] == expected
    assert answer.malformed_tags == sum(defect is not None for *_, defect in expected)


@pytest.mark.parametrize(
    ("block", "sentences", "stray"),
    [
        ("<snippet id=a1>one <snippet id=b2>two</snippet> three", ["three"], 0),
        ("<snippet id=a1>Ice floats.</snippet and lead sinks>", ["and lead sinks>"], 0),
        ("</snippet> Ice floats.</snippet >", ["Ice floats."], 2),
        ("Ice floats. Ⓣⓗⓔ ⓕⓔⓡⓡⓨ. 🅸🅲🅴. 🙂.", ["Ice floats.", "Ⓣⓗⓔ ⓕⓔⓡⓡⓨ.", "🅸🅲🅴."], 0),
    ],
)
def test_no_tag_hides_text(block: str, sentences: list[str], stray: int) -> None:
    answer = read_block(block)
    assert [sentence.text for sentence in answer.sentences] == sentences
    assert answer.stray_tags == stray


@pytest.mark.parametrize("name", ["snippets", "snippet_text", "snippetid", "claim"])
def test_other_tags_are_text(name: str) -> None:
    answer = read_block(f"<snippet id=a1>Ice <{name} id=b2>floats</{name}>.</snippet>")
    (claim,) = answer.claims
    assert claim.text == f"Ice <{name} id=b2>floats</{name}>."
    assert (claim.ids, claim.malformed, answer.stray_tags) == (("a1",), None, 0)


def test_merges_equal_claims() -> None:
    block = (
        "<snippet id=a1>Ice  floats.</snippet> <snippet id=b2,a1>ICE\u200b floats</snippet>"
        "<snippet id=c3>Ｉｃｅ floats!</snippet> <snippet id=d4>Ice floats on oil.</snippet>"
    )
    merged, other = read_block(block).claims
    assert (merged.text, merged.ids, merged.occurrences) == ("Ice floats.", ("a1", "b2", "c3"), 3)
    assert (other.ids, other.occurrences) == (("d4",), 1)


def test_one_well_formed_occurrence_saves_a_claim_but_no_id_is_lost() -> None:
    block = "<snippet id=x9 note=1>Ice floats.</snippet><snippet id=a1>Ice floats.</snippet>"
    answer = read_block(block)
    (claim,) = answer.claims
    assert (claim.malformed, claim.ids, claim.occurrences) == (None, ("x9", "a1"), 2)
    assert block[claim.span[0] - len("<answer>") :].startswith("<snippet id=a1>")
    assert answer.malformed_tags == 1


@pytest.mark.parametrize(
    "copy",
    ["**Ice** floats, on water.", "- Ice floats on water;", "«Ice floats on water»",
     "ice  ﬂoats\u200b on water…"],
)  # fmt: skip
def test_a_claim_in_other_clothes_is_the_same_claim(copy: str) -> None:
    block = f"<snippet id=a>Ice floats on water</snippet><snippet id=b>{copy}</snippet>"
    claim = only_claim(block)
    assert (claim.ids, claim.occurrences) == (("a", "b"), 2)


@pytest.mark.parametrize(
    "texts",
    [("p < 0.05", "p > 0.05", "p < 0.5", "5%", "5"), ("1.5 m", "15 m"), ("3 °C", "-3 °C"),
     ("10-20", "10 20")],
)  # fmt: skip
def test_symbols_and_numbers_tell_claims_apart(texts: tuple[str, ...]) -> None:
    block = "".join(f"<snippet id=a>It is {text}</snippet>" for text in texts)
    assert [claim.text for claim in read_block(block).claims] == [f"It is {text}" for text in texts]
