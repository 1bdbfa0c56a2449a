"""Uncited text into sentences, by example."""

import pytest

from citemark_service.parsing.answer import read_answer


def sentences(block: str) -> list[str]:
    return [sentence.text for sentence in read_answer(f"<answer>{block}</answer>").sentences]


@pytest.mark.parametrize(
    "text",
    [
        "Shakespeare.",
        "42.",
        "Yes",
        "The U.S. Navy bought version 3.11.2 for $3.50.",
        "Dr. J. R. Miller, i.e. the author, agreed.",
        "It was built by J. A. Smith and E. O. Wilson.",
        "See Fig. 2, No. 5 and p. 12 of Smith et al. (2019).",
        "It is at https://a.example/b.html?c=1.2 today.",
        "Wait... what is it?",
        '"Is it warm?" he asked.',
        "Lamps (e.g. oil ones) burn.",
        "It rose by 4.5 p.m. on Monday.",
        ".NET runs on ice.",
    ],
)
def test_keeps_one_sentence_whole(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("Ice floats. Lead sinks! Why?", ["Ice floats.", "Lead sinks!", "Why?"]),
        ("ice floats. lead sinks.", ["ice floats.", "lead sinks."]),
        ("水は液体です。氷は固体です！", ["水は液体です。", "氷は固体です！"]),
        ("Ice floats…\u2029Lead sinks", ["Ice floats…", "Lead sinks"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Ice floats.[1] Lead sinks.[2, 3]", ["Ice floats.[1]", "Lead sinks.[2, 3]"]),
        ("Take vitamin C. It helps.", ["Take vitamin C.", "It helps."]),
        ("No. It sinks.", ["No.", "It sinks."]),
        ("Es sind 5 Mio. Die Zahl stieg.", ["Es sind 5 Mio.", "Die Zahl stieg."]),
        (
            "He lost his mind. Bees saw the mill. Ice fell.",
            ["He lost his mind.", "Bees saw the mill.", "Ice fell."],
        ),
        ("It is 5 m. Bees built it.", ["It is 5 m.", "Bees built it."]),
        (
            "## Ice\n- floats\n  * melts\n1. freezes\n2) cracks",
            ["floats", "melts", "freezes", "cracks"],
        ),
        ("**Ice**\n> **Lead:** sinks.", ["**Lead:** sinks."]),
        ("1. Ice floats. 2. Lead sinks.", ["Ice floats.", "Lead sinks."]),
        ("Ice, <snippet id=a1>which floats</snippet>, is cold.", ["Ice,", "is cold."]),
        ("Ice floats. ice  floats! Ice sinks.", ["Ice floats.", "Ice sinks."]),
    ],
)
def test_splits(block: str, expected: list[str]) -> None:
    assert sentences(block) == expected


@pytest.mark.parametrize(
    "between",
    [" ", ". ", " and ", ", however, ", "\n\n1. ", "\n- ", " In addition, ", " For example: ",
     " (2) ", " [3] ", "\n---\n", " According to ", ". First, ", "; as well as "],
)  # fmt: skip
def test_drops_what_cannot_state_a_fact(between: str) -> None:
    claim = "<snippet id=a1>Ice floats</snippet>"
    assert sentences(f"{claim}{between}{claim}") == []


@pytest.mark.parametrize("between", ["Oslo", " in 2019 ", " not ", " is ", " First. Oslo, "])
def test_keeps_what_may(between: str) -> None:
    claim = "<snippet id=a1>Ice floats</snippet>"
    assert sentences(f"{claim}{between}{claim}")
