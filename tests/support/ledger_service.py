"""The real service with a ledger on a real socket, and its pages as a browser would read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx

from citemark_service.judges.tasks import Judge
from citemark_service.ledger.ledger import ledger_of, ledger_view
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from support.scripted_service import client_of, real_app

_VOID = frozenset({"meta", "link", "img", "input", "br"})


@contextmanager
def kept_service(
    folder: Path, judge: Judge | None = None, /, **settings: Any
) -> Iterator[httpx.Client]:
    """A client of a service whose ledger is in `folder`; its `base_url` ends in the port."""
    table = Settings(**{"ledger": f"sqlite:///{folder / 'ledger.db'}", **settings})
    metrics = Metrics()
    ledger, view = ledger_of(table, metrics), ledger_view(table)
    app = real_app(table, metrics, judge=judge, ledger=ledger, view=view)
    with client_of(app) as client:
        yield client


def score(client: httpx.Client, items: list[dict[str, Any]], **options: Any) -> list[Any]:
    response = client.post("/v1/score", json={"items": items, **options})
    found: list[Any] = response.raise_for_status().json()["items"]
    return found


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""


class Document(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop().tag != tag:
            pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]

    def classed(self, name: str) -> list[Element]:
        return [each for each in self.elements if name in each.attributes.get("class", "").split()]

    @property
    def links(self) -> list[str]:
        return [link.attributes["href"] for link in self.all("a")]

    @property
    def text(self) -> str:
        return next(element.text for element in self.elements if element.tag == "body")


def page(client: httpx.Client, address: str) -> Document:
    response = client.get(f"/ui/{address}")
    assert response.status_code == 200, response.text
    return Document(response.text)
