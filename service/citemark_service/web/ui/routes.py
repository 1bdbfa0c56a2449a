"""The routes under `/ui`: pages for people, so none is in the OpenAPI document."""

import hashlib
from collections.abc import Callable
from functools import partial, wraps
from importlib import resources
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.admission import Admission, Reads
from citemark_service.web.ui.forms import LoginForm, PasteBox
from citemark_service.web.ui.pages import Pages
from citemark_service.web.ui.templates import POLICY, Templates, to_response

_READ_S: Final = 10.0  # for one page

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def ui_router(
    pipeline: Pipeline,
    admission: Admission,
    reads: Reads,
    view: LedgerReader | None,
    ledger: Ledger | None,
) -> APIRouter:
    """The pages, forms and assets. Without `view`, its pages say how to get a ledger."""
    router = APIRouter(prefix="/ui", include_in_schema=False)
    templates = Templates()
    box = PasteBox(pipeline, admission, reads, templates)
    login = LoginForm(admission, templates)

    async def lead_to_folder() -> Response:
        # Relative, so that it holds behind any prefix.
        return RedirectResponse("ui/", headers=POLICY)

    async def respond_off() -> Response:
        return templates.respond("off")

    router.add_api_route("", lead_to_folder)
    if view is None:
        for path in ("/", "/run", "/step", "/group", "/rollout", "/judge"):
            router.add_api_route(path, respond_off)
    else:
        _add_pages(router, Pages(view, pipeline, templates), ledger, reads)
    router.add_api_route("/score", box.show)
    router.add_api_route("/score", box.submit, methods=["POST"])
    router.add_api_route("/login", login.show)
    router.add_api_route("/login", login.submit, methods=["POST"])
    _add_assets(router)
    return router


def _add_pages(router: APIRouter, pages: Pages, ledger: Ledger | None, reads: Reads) -> None:
    async def respond(page: Callable[..., str], **query: object) -> Response:
        def within_time() -> str:
            with pages.view.within(_READ_S):
                return page(**query)

        return to_response(await reads.run(within_time))

    @router.get("/")
    async def runs() -> Response:
        # The ledger belongs to the event loop, so it is asked here.
        waiting = ledger.waiting if ledger is not None and ledger.troubled else None
        return await respond(pages.runs, waiting=waiting)

    for page in (pages.run, pages.step, pages.group, pages.rollout, pages.judge):
        # FastAPI reads the parameters off the page.
        endpoint = wraps(page)(partial(respond, page))
        router.add_api_route(f"/{page.__name__}", endpoint, response_model=None)


def _add_assets(router: APIRouter) -> None:
    folder = resources.files("citemark_service.web.ui") / "assets"
    # Nothing but the files of the folder can be asked for.
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    tags = {
        name: f'"{hashlib.sha256(content).hexdigest()[:16]}"' for name, content in files.items()
    }

    @router.get("/assets/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        headers = {**POLICY, "Cache-Control": "no-cache", "ETag": tags[name]}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(files[name], headers=headers, media_type=_TYPES[name.rpartition(".")[2]])
