"""Templates to pages. All text is escaped, and characters that cannot be seen are revealed."""

import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from citemark_schemas import Problem
from citemark_service.ledger.tables import NO_STEP
from citemark_service.printable import figure, printable
from citemark_service.score.explanation import level_of, sign_of
from citemark_service.web.problems import Handler
from citemark_service.web.ui import charts, links, summaries
from citemark_service.web.ui.answer import SHOWN_IDS

# Of every page. Even text that slipped through as markup could load and run nothing.
POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

# In place of messages that say no more than the status.
_PLAIN: Final = {
    404: "There is no page at this address.",
    405: "This page does not take what was sent to it.",
}
_QUERY: Final = "query."  # before a parameter of the address, in FastAPI's errors


class Templates:
    """The pages' templates; `guarded` where a token opens them. Safe in several threads."""

    def __init__(self, *, guarded: bool = False) -> None:
        folder = resources.files("citemark_service.web.ui") / "templates"
        self._environment = Environment(
            loader=DictLoader({file.name: file.read_text("utf-8") for file in folder.iterdir()}),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_reveal,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            links=links,
            up="",
            guarded=guarded,
            plot_width=charts.WIDTH,
            plot_height=charts.HEIGHT,
            shown_ids=SHOWN_IDS,
            no_step=NO_STEP,
            mean=summaries.mean,
            deviation=summaries.deviation,
            outcome=summaries.outcome,
        )
        self._environment.filters.update(
            number=format_number, when=format_time, level=level_of, sign=sign_of
        )

    def html(self, name: str, /, **values: object) -> str:
        """A page; `values` may hold hostile text anywhere."""
        return self._environment.get_template(f"{name}.html.j2").render(values)

    def respond(self, name: str, /, *, status: int = 200, **values: object) -> Response:
        return to_response(self.html(name, **values), status)


def to_response(html: str, status: int = 200, headers: Mapping[str, str] = POLICY) -> Response:
    """A page's HTML as a response; lone surrogates, which are no UTF-8, are replaced."""
    return HTMLResponse(html.encode(errors="replace"), status, headers)


def format_number(value: float | None, form: str = ".3f") -> str:
    """A number in a format of `figure`; a dash for None."""
    return "–" if value is None else figure(value, form)


def format_time(at: float) -> str:
    """Unix time in seconds as UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def _reveal(value: object) -> object:
    # Markup is the templates' own; all other text may come from a policy.
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def answer_with_pages(
    handlers: Mapping[int | type[Exception], Handler], templates: Templates
) -> dict[int | type[Exception], Handler]:
    """`handlers`, whose answers under `/ui` are pages with the same status and headers."""

    async def answer(handler: Handler, request: Request, error: Any) -> Response:
        response = await handler(request, error)
        if not response.body or not links.is_page(request.scope["path"]):
            return response
        return _problem_page(request, response, templates)

    return {kind: partial(answer, handler) for kind, handler in handlers.items()}


def _problem_page(request: Request, response: Response, templates: Templates) -> Response:
    problem = Problem.model_validate_json(bytes(response.body))
    status = HTTPStatus(response.status_code)
    misread = [
        (each.loc.removeprefix(_QUERY), each.message)
        for each in problem.details
        if each.loc.startswith(_QUERY)
    ]
    plain = problem.message == status.phrase
    html = templates.html(
        "trouble",
        title="This address cannot be read" if misread else status.phrase,
        message=_PLAIN.get(status, status.phrase) if plain else problem.message,
        misread=misread,
        up=links.way_back(request.scope["raw_path"]),
    )
    # Not the length and type of the JSON.
    headers = {
        name: text for name, text in response.headers.items() if not name.startswith("content-")
    }
    return to_response(html, status, {**headers, **POLICY})
