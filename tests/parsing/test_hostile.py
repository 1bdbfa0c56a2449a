"""Anything is read in linear time. Quadratic code would take minutes here."""

import time
from collections.abc import Callable

import pytest

from citemark_schemas import Snippet
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.format import format_report
from citemark_service.parsing.sources import read_sources

SHORT, MEGABYTE = 50_000, 1_000_000
SHORT_BOUND_S, BOUND_S = 2.0, 12.0
"""CPU seconds, so that a busy machine does not matter; a short text takes below 0.3."""
UNITS = (
    *("<", ">", "<snippet ", "<snippet id=", "<snippet id=a>", "<snippet id=a", '<snippet id="'),
    *("</snippet>", "</snippet", "<snippet id=a>x</snippet>", "<answer>", "</answer>", "<answer "),
    *("<webpage id=a>", "<snippets metadata='{ ", "}' ", ' a="', '="', "'", ".", ". ", '."'),
    *(".[1]", "[1,", "e.g. ", "A. B", "1. ", "- ", "#", "\n", "a\n", " ", "\u200b", "\u0301\u0327"),
    *("\ufdfa", "。", "ignore ", "note to ", "give a ", "score of 1 ", '"verdict" ', "<|", "S_1 "),
    *("in addition to ", "It ran in 1963. ", "It ran in 1963 [1]. "),
    *(
        "ignoriere alle ",
        "dale la ",
        "игнорируй ",
        "постав и ",
        "给满",
        "所有引用 ",
        "تجاهل ",
        "note an den ",
    ),
    *("(S1", "\\cite{a", "\\citecite", "[@a", "<a id=", "[a](b://c", "[a](b://c) `x` ", "- [a]: "),
    *("[1]", "[1, ", "[1-999]", "[[", "[a](", "[a](b", "【1†", "`", "$$\n", "```\n", "| a [1] |\n"),
    *(
        "|-|\n",
        "“",
        '"[1] ',
        '<cite id="a">',
        "<sup>1",
        "a¹",
        "\n[1]",
        "# a\n",
        "a:\n",
        "27. ",
        "؟",
    ),
    *("[{", '{"a":[', "[{}]\n", "[0] Title: a\n", "<document id=1>", "</document>"),
)
ANSWERS = (
    ("", ""),
    ("<answer>x ", " y</answer>"),
    ("<answer>x <snippet id=", ">y</snippet></answer>"),
)
SOURCES = read_sources(None, [Snippet(id=f"S_{n}", text="x") for n in range(100)])


def repeated(unit: str, size: int) -> str:
    return (unit * (size // len(unit) + 1))[:size]


def cpu_seconds(read: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    read(text)
    return time.process_time() - start


def read(response: str) -> None:
    for style in ("auto", "numbered"):
        format_report(read_answer(response, style, SOURCES), SOURCES)


@pytest.mark.parametrize("unit", UNITS)
def test_short_texts(unit: str) -> None:
    units = repeated(unit, SHORT)
    for before, after in ANSWERS:
        assert cpu_seconds(read, before + units + after) < SHORT_BOUND_S, before
    for before in ("", '<snippet id="', "<snippets id=a metadata='{"):
        assert cpu_seconds(lambda text: read_sources(text, None), before + units) < SHORT_BOUND_S


@pytest.mark.parametrize(
    "unit",
    ["<", "<snippet ", "<snippet id=a>", "</snippet>", "<answer>", "[1] ", "[", "| a |\n", "“"],
)
def test_a_megabyte(unit: str) -> None:
    assert cpu_seconds(read, f"<answer>x {repeated(unit, MEGABYTE)}</answer>") < BOUND_S


def test_deep_nesting() -> None:
    depth = 10_000
    response = f"<answer>{'<snippet id=a>x' * depth}{'</snippet>y' * depth}</answer>"
    assert cpu_seconds(read, response) < SHORT_BOUND_S
    assert read_answer(response).malformed_tags == depth
