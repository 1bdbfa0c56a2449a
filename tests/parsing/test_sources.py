"""Sources of the tool output, by example."""

import pytest

from citemark_schemas import Snippet
from citemark_service.parsing.sources import read_sources


def texts(tool_output: str) -> dict[str, str]:
    return {name: source.text for name, source in read_sources(tool_output, None).by_id.items()}


@pytest.mark.parametrize(
    "tag",
    ["<snippet id=S_1>", '<snippet id="S_1">', "<SNIPPET ID='S_1' >", '<snippet id="S_1>',
     '<snippet rank=2 id="S_1" title="a > b">', "<snippet title='x' id = S_1>"],
)  # fmt: skip
def test_reads_every_way_to_write_a_tag(tag: str) -> None:
    assert texts(f"found: {tag} Ice floats.\n</snippet> end") == {"S_1": "Ice floats."}


def test_reads_snippets_with_metadata() -> None:
    output = """<snippets id="S_1" metadata='{"t": "Ice > tin", "paper_id": "P7"}'>Ice.</snippets>
    <snippets metadata='{"title": "Miller's ice", "corpusId": 12}' id="S_2">Lead.</snippets>
    <snippets id="S_3" metadata='{"title": broken'>Tin.</snippets>"""
    sources = read_sources(output, None)
    assert {name: (s.text, s.paper_id) for name, s in sources.by_id.items()} == {
        "S_1": ("Ice.", "P7"),
        "S_2": ("Lead.", "12"),
        "S_3": ("Tin.", None),
    }


@pytest.mark.parametrize("attribute", ["paper_id=P7", 'paper-id="P7"', "PAPER_ID='P7'"])
def test_reads_a_paper_attribute(attribute: str) -> None:
    sources = read_sources(f"<snippet {attribute} id=S_1>Ice.</snippet>", None)
    assert sources.by_id["S_1"].paper_id == "P7"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (
            "<webpage id=W1>top <snippet id=S_1>Ice.</snippet> end</webpage> none",
            {"W1": "top Ice. end", "S_1": "Ice."},
        ),
        (
            "<snippet id=S_1>Ice. <snippet id=S_2>Lead.</snippet> no"
            "<webpage id=W1>Tin. <snippet id=S_3>Zinc.",
            {"S_1": "Ice.", "S_2": "Lead.", "W1": "Tin.", "S_3": "Zinc."},
        ),
    ],
)
def test_a_page_holds_its_snippets_and_an_unclosed_source_runs_to_the_next(
    output: str, expected: dict[str, str]
) -> None:
    assert texts(output) == expected


def test_all_definitions_count_and_structured_ones_come_first() -> None:
    given = [Snippet(id="S_1", text="given", paper_id="P7"), Snippet(id="S_1", text="again")]
    sources = read_sources("<snippet id=S_1>raw</snippet><snippet id=S_2>x</snippet>", given)
    assert list(sources.by_id) == ["S_1", "S_2"]
    assert sources.by_id["S_1"].text == "given\n\nagain\n\nraw"


@pytest.mark.parametrize(
    "output",
    [None, "", "plain", "<snippet>Ice.</snippet>", "<snippet id=>Ice.", "<snippet id=S_1",
     "<snippet_text id=S_1>Ice.</snippet_text>", "</snippet id=S_1>"],
)  # fmt: skip
def test_no_id_no_source(output: str | None) -> None:
    assert read_sources(output, None).by_id == {}
