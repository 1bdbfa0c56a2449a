"""What a policy wrote is text on every page: it opens no tag, hides nothing and leads nowhere."""

import re
from urllib.parse import urlsplit

import pytest

from support.hostile_rollouts import PAYLOADS, huge
from support.ledger_service import Document, kept_service, score

TAGS = {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "img", "nav", "main",
    "h1", "h2", "h3", "p", "div", "span", "section", "article", "table", "thead", "tbody", "tr",
    "th", "td", "ol", "ul", "li", "dl", "dt", "dd", "bdi", "small", "strong", "code", "kbd", "pre",
    "q", "blockquote", "details", "summary", "figure", "figcaption", "svg", "path", "rect", "line",
    "text", "form", "label", "textarea", "button",
}  # fmt: skip
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def test_no_text_becomes_an_element_a_handler_or_a_style(attacked):
    for address, seen in attacked:
        assert {element.tag for element in seen.elements} <= TAGS, address
        assert {img.attributes["src"] for img in seen.all("img")} <= {"assets/mark.svg"}
        for script in seen.all("script"):
            assert re.fullmatch(r"assets/[\w.-]+\.js", script.attributes["src"])
            assert script.text.strip() == ""
        names = {name for element in seen.elements for name in element.attributes}
        assert not [name for name in names if name == "style" or name.startswith("on")]


def test_every_address_is_a_sibling_or_an_anchor_with_a_number(attacked):
    for _, seen in attacked:
        for element in seen.elements:
            for name in ("href", "src", "action"):
                parts = urlsplit(element.attributes.get(name, ""))
                assert not parts.scheme
                assert not parts.netloc
                assert re.fullmatch(r"|main|rollouts|(?:source|claim)-\d+", parts.fragment)
        ids = [e.attributes["id"] for e in seen.elements if "id" in e.attributes]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"main|rollouts?|(?:source|claim)-\d+", each) for each in ids)


def test_nothing_is_there_that_a_reader_cannot_see(attacked):
    for address, seen in attacked:
        assert not UNSEEN.search(seen.text), address
        for element in seen.elements:
            assert not UNSEEN.search("".join(element.attributes.values())), address
    every = "".join(seen.text for _, seen in attacked)
    assert "<U+202E>gnp.exe<U+202C>" in every
    assert "<U+001B>[31mred" in every


def test_every_payload_can_be_read_as_it_was_written(attacked):
    every = "".join(seen.text for _, seen in attacked)
    for payload in PAYLOADS:  # a template is not rendered either
        if not UNSEEN.search(payload):
            assert payload in every


def test_a_huge_rollout_makes_no_huge_page(tmp_path):
    with kept_service(tmp_path) as client:
        score(client, [huge()], run="huge", step=1)
        shown = []
        for address in ("rollout?n=1", "judge?n=1", "step?run=huge&step=1", "run?run=huge"):
            response = client.get(f"/ui/{address}")
            assert response.status_code == 200
            assert len(response.content) < 2_000_000
            shown.append(Document(response.text))
        assert "not shown" in shown[0].text


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_a_pasted_attack_is_text_too(pages, number):
    body = {"rollout": f"not JSON {PAYLOADS[number]}"}
    response = pages.post("/ui/score", data=body)
    assert response.status_code == 422
    seen = Document(response.text)
    assert {element.tag for element in seen.elements} <= TAGS
    assert len(seen.all("textarea")) == 1
