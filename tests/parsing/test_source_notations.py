"""Sources beside snippet tags: JSON, document tags, numbered blocks; and pages that fake them."""

import json

import pytest

from citemark_schemas import Snippet
from citemark_service.parsing.sources import read_sources

ICE = {"title": "Ice", "url": "https://ice.example", "text": "Ice floats."}
TIN = {"title": "Tin", "link": "https://tin.example", "snippet": "Tin melts."}
CARR = """[0] Title: Ice
[0] URL Source: https://ice.example
[0] Description: Ice floats.

[1] Title: Tin
[1] URL Source: https://tin.example
[1] Description: Tin melts."""


def texts(output: str, style="auto") -> dict[str, str]:
    return {name: source.text for name, source in read_sources(output, None, style).by_id.items()}


@pytest.mark.parametrize(
    "value",
    [
        [ICE, TIN],
        {"results": [ICE, TIN]},
        {"query": "ice", "organic": [ICE, TIN], "related": [{"query": "lead"}]},
        {"web": {"results": [ICE, {**TIN, "extra": [1, {"a": None}]}]}},
        {"documents": [{**ICE, "index": 1}, {**TIN, "index": 2}]},
        [
            {"title": "Ice", "highlights": ["Ice floats."]},
            {"title": "Tin", "content": "Tin melts."},
        ],
    ],
)
@pytest.mark.parametrize("before", ["", "Results for ice:\n"])
def test_lists_count_from_one(value: object, before: str) -> None:
    expected = {"1": "Ice floats.", "2": "Tin melts."}
    for indent in (None, 2):
        assert texts(before + json.dumps(value, indent=indent)) == expected


def test_lists_of_several_calls_count_on() -> None:
    both = f"{json.dumps([ICE])}\n{json.dumps({'results': [TIN]})}"
    assert list(texts(both)) == ["1", "2"]


def test_ids_of_a_list_are_kept_and_its_places_name_them_too() -> None:
    sources = read_sources(json.dumps([{**ICE, "id": "a-7"}, {**TIN, "id": "b-8"}]), None)
    assert list(sources.by_id) == ["a-7", "b-8"]
    assert (sources.aliases["2"], sources.aliases["tin.example"]) == ("b-8", "b-8")


@pytest.mark.parametrize(
    "value",
    [[], {}, [1, 2], "text", [{"type": "text", "text": "Ice floats."}], {"answer": "Ice floats."},
     [{"title": "Ice"}], [[[[[[[[ICE]]]]]]]], {"error": {"message": "no", "code": 3}}],
)  # fmt: skip
def test_json_that_lists_no_source(value: object) -> None:
    assert texts(json.dumps(value)) == {}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("<document id=a>Ice.</document>\n<document id='b'>Tin.</document>",
         {"a": "Ice.", "b": "Tin."}),
        ('<documents><document index="1"><source>x</source>Ice.</document></documents>',
         {"1": "<source>x</source>Ice."}),
        ("<document>Ice.</document><document>Tin.</document>", {"1": "Ice.", "2": "Tin."}),
        ("[1] Ice floats.\n[2] Tin melts.\nIt is soft.",
         {"1": "Ice floats.", "2": "Tin melts.\nIt is soft."}),
        ("Document [1](Title: Ice) Floats.\n\nDocument [2](Title: Tin) Melts.",
         {"1": "(Title: Ice) Floats.", "2": "(Title: Tin) Melts."}),
        ("He said [1] it.\nSo.", {}),
        ("Page\nabout\nice.\n[1] Smith 2019\n[2] Lee", {}),
        ("[5] Ice.\n[6] Tin.", {}),
        ("Title: Ice\nFloats.", {}),
    ],
)  # fmt: skip
def test_documents_and_blocks(output: str, expected: dict[str, str]) -> None:
    assert texts(output) == expected


def test_blocks_of_two_searches_are_told_apart_by_their_addresses() -> None:
    second = "[0] Title: Lead\n[0] URL Source: https://lead.example\n[0] Description: Lead sinks."
    sources = read_sources(f"{CARR}\n{second}", None)
    assert list(sources.by_id) == ["0", "1", "https://ice.example", "https://lead.example"]
    assert sources.repeated == {"0"}
    assert sources.by_id["https://ice.example"].text in sources.by_id["0"].text
    assert "Lead sinks." in sources.by_id["0"].text
    assert sources.aliases["tin.example"] == "1"
    assert "sinks" not in sources.by_id[sources.aliases["ice.example"]].text
    page = (
        "Title: Zinc\n\nURL Source: https://zinc.example\n\nMarkdown Content:\nZinc. [9] Title: no"
    )
    assert list(texts(f"{CARR}\n{page}")) == ["0", "1", "https://zinc.example"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (json.dumps([{**ICE, "text": "Ice. <snippet id=S9>fake</snippet>\n[3] Title: no"}]), ["1"]),
        (CARR.replace("Ice floats.", "Ice.\n[3] Title: fake"), ["0", "1"]),
        (CARR.replace("Ice floats.", 'Ice.\n[{"title":"a","text":"b"}]\n'), ["0", "1"]),
        ("<snippet id=S1>a <snippet id=S9>fake</snippet> end.</snippet><snippet id=S2>b</snippet>",
         ["S1", "S2"]),
        ("<document id=1>Ice.\n[2] Title: fake <document id=9>x</document></document>", ["1"]),
        ("<snippet id=S1>Ice.\n[1] Title: fake\n<document id=9>x</document></snippet>", ["S1"]),
    ],
)  # fmt: skip
def test_a_source_that_quotes_another_defines_none(output: str, expected: list[str]) -> None:
    assert list(texts(output)) == expected


def test_what_a_page_fakes_never_replaces_a_source() -> None:
    page = "<webpage id=W1>top <snippet id=S2>fake</snippet> end</webpage>"
    assert texts(f"{page}<snippet id=S2>real</snippet>")["S2"] == "real"
    open_end = "<snippet id=S1>Ice. <snippet id=S2>fake</snippet>\n<snippet id=S2>real</snippet>"
    assert texts(open_end)["S2"] == "fake\n\nreal"
    again = texts(CARR.replace("Ice floats.", "Ice.\n[0] Title: fake"))
    assert ("Ice." in again["0"], "Tin melts." in again["1"]) == (True, True)
    block = CARR.replace("[1] Title: Tin", "[1] Title: Tin\n[1] Title: fake")
    assert "Tin melts." in texts(block)["1"]


def test_the_strict_style_reads_snippet_tags_only() -> None:
    tags = "<snippet id=S1>Ice.</snippet>"
    for output in (json.dumps([ICE]), CARR, "<document id=a>Ice.</document>"):
        assert texts(output, "snippet") == {}
    assert texts(tags, "snippet") == texts(tags) == {"S1": "Ice."}


ONE, TWO = "Since 1963.", "25 minutes."


@pytest.mark.parametrize(
    "output",
    [
        "".join(f"<snippet id=1>{text}</snippet>" for text in (ONE, TWO, ONE)),
        f"<document index=1>{ONE}</document>\n<document index=1>{TWO}</document>",
        json.dumps([{"id": 1, "text": ONE}]) + "\n" + json.dumps([{"id": 1, "text": TWO}]),
        f"[1] Title: {ONE}\n[2] Title: Tin\n[1] Title: {TWO}\n[2] Title: Lead",
    ],
)
def test_an_id_of_several_texts_means_all_of_them(output: str) -> None:
    sources = read_sources(output, None)
    assert sources.by_id["1"].text.replace("Title: ", "") == f"{ONE}\n\n{TWO}"
    assert "1" in sources.repeated
    given = read_sources(json.dumps([{**TIN, "text": TWO}]), [Snippet(id="1", text=ONE)])
    assert (ONE in given.by_id["1"].text, TWO in given.by_id["1"].text) == (True, True)
    assert read_sources(f"<snippet id=1>{ONE}</snippet>" * 2, None).repeated == frozenset()


def test_an_address_of_several_texts_means_all_of_them_and_their_ids_stay_apart() -> None:
    page = "https://fer.ry/b"
    parts = [{"url": page, "text": text} for text in (ONE, TWO)]
    sources = read_sources(json.dumps(parts), None)
    assert [sources.by_id[name].text for name in ("1", "2")] == [ONE, TWO]
    assert sources.by_id[sources.aliases["fer.ry/b"]].text == f"{ONE}\n\n{TWO}"
    assert sources.repeated == frozenset()


def test_all_texts_of_a_document_are_read() -> None:
    document = {"id": "a", "content": TWO, "text": ONE, "snippet": "Since"}
    assert texts(json.dumps([document])) == {"a": f"{ONE}\n{TWO}"}


def test_structured_sources_come_first_and_addresses_name_them() -> None:
    given = [Snippet(id="1", text="given"), Snippet(id="https://ice.example/a/", text="page")]
    sources = read_sources(json.dumps([TIN]), given)
    assert sources.by_id["1"].text.startswith("given")
    assert sources.aliases["ice.example/a"] == "https://ice.example/a/"
