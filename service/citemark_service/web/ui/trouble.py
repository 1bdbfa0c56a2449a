"""Errors as pages: who asks for a page reads one, whatever the API would have answered."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from citemark_schemas import Problem
from citemark_service.web.problems import Handler
from citemark_service.web.ui import guard, links
from citemark_service.web.ui.templates import Templates

Handlers = Mapping[int | type[Exception], Handler]

_QUERY: Final = "query."
_TOLD: Final = {
    404: "There is no page at this address.",
    405: "This page does not take what was sent to it.",
}
"""In place of a phrase that says no more than the status."""


def paged(handlers: Handlers, templates: Templates) -> dict[int | type[Exception], Handler]:
    """`handlers`, whose answers under `/ui` are pages with the same status and headers."""
    return {kind: _paged(handler, templates) for kind, handler in handlers.items()}


def _paged(handler: Handler, templates: Templates) -> Handler:
    async def answer(request: Request, error: Any) -> Response:
        told = await handler(request, error)
        if not told.body or not links.is_page(request.scope["path"]):
            return told
        text = _page(request, told, templates)
        return HTMLResponse(text.encode(errors="replace"), told.status_code, _headers(told))

    return answer


def _page(request: Request, told: Response, templates: Templates) -> str:
    problem, status = Problem.model_validate_json(bytes(told.body)), HTTPStatus(told.status_code)
    unread = [
        (each.loc.removeprefix(_QUERY), each.message)
        for each in problem.details
        if each.loc.startswith(_QUERY)
    ]
    plain = problem.message == status.phrase
    return templates.html(
        "trouble",
        title="This address cannot be read" if unread else status.phrase,
        message=_TOLD.get(status, status.phrase) if plain else problem.message,
        unread=unread,
        up=links.way_back(request.scope["raw_path"]),
    )


def _headers(told: Response) -> dict[str, str]:
    """The page has a length and a type of its own."""
    kept = {name: text for name, text in told.headers.items() if not name.startswith("content-")}
    return {**kept, **guard.POLICY}
