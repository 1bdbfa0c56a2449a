"""The routes under `/ui`: pages for people, so none is in the OpenAPI document."""

import hmac
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse

from citemark_service.errors import LedgerError, LedgerUnavailable
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.view import LedgerView
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from citemark_service.web.ui import guard, links
from citemark_service.web.ui.assets import assets
from citemark_service.web.ui.door import cookie_of, pass_of
from citemark_service.web.ui.forms import Forms
from citemark_service.web.ui.pages import Pages, scored_page
from citemark_service.web.ui.paste import PasteBox, Unusable, example
from citemark_service.web.ui.reads import Reads
from citemark_service.web.ui.templates import Templates

_MOST: Final = 2**63 - 1
_LOGIN_BYTES: Final = 16_384

RunName = Annotated[str, Query(alias="run", max_length=256)]
StepNumber = Annotated[int, Query(alias="step", ge=-1, le=_MOST)]
GroupKey = Annotated[str, Query(alias="group", max_length=512)]
Number = Annotated[int, Query(alias="n", ge=0, le=_MOST)]
Filter = Literal["failed", "citation", "siblings", "addressed"]
Outcome = Literal["judged", "refused", "failed"]
Sort = Literal["worst", "best", "latest", "longest"]


class Screen:
    """Pages as responses; without a ledger there is only the box to paste a rollout."""

    def __init__(
        self,
        *,
        pages: Pages | None,
        queue: Ledger | None,
        pipeline: Pipeline,
        reads: Reads,
        templates: Templates,
        box: PasteBox,
        forms: Forms,
        token: SecretStr | None,
    ) -> None:
        self._forms = forms
        self._token = token
        self._pages = pages
        self._queue = queue
        self._pipeline = pipeline
        self._reads = reads
        self._templates = templates
        self._box = box

    async def runs(self) -> Response:
        """Every run, and what has to wait while the ledger cannot be written."""
        queue = self._queue  # asked here: it belongs to the event loop
        waiting = queue.waiting if queue is not None and queue.troubled else None
        return await self.page(lambda pages: pages.runs(waiting))

    async def page(self, make: Callable[[Pages], str]) -> Response:
        """What `make` returns. Raises `RequestError`."""
        pages = self._pages
        if pages is None:
            return self._html(self._templates.html("off"))
        return await self._made(partial(pages.within_time, partial(make, pages)))

    def box(self) -> Response:
        """The empty box."""
        return self._box_page(example(), "", ())

    async def scored(self, request: Request) -> Response:
        """The pasted rollout's page, or the box with what is wrong.

        Raises:
            RequestError: it was refused before it was read, or its page cannot be made now.
            HTTPException: another site sent it.
        """
        if guard.from_elsewhere(request.headers):
            raise HTTPException(403, "Another site sent this form; nothing was scored.")
        try:
            rollout, result = await self._box.scored(request)
        except Unusable as unusable:
            details = [(each.loc, each.message) for each in unusable.error.details]
            status = unusable.error.status
            return self._box_page(unusable.text, str(unusable), details, status=status)
        return await self._made(
            partial(scored_page, self._templates, self._pipeline, rollout, result)
        )

    def login(self, wanted: str, *, wrong: bool = False) -> Response:
        """The form for the token; the page that was wanted itself where none is needed."""
        if self._token is None:
            return RedirectResponse(links.back_to(wanted), 303, guard.POLICY)
        form = self._templates.html("login", wrong=wrong, to=wanted)
        return self._html(form, 403 if wrong else 200)

    async def opened(self, request: Request) -> Response:
        """The way in, with a cookie, for who knows the token. Raises `RequestError`."""
        if self._token is None or guard.from_elsewhere(request.headers):
            return self.login("")
        fields = await self._forms.fields(request, limit=_LOGIN_BYTES)
        given, wanted = SecretStr(fields.get("token", "")), fields.get("to", "")
        if not hmac.compare_digest(pass_of(given), pass_of(self._token)):
            return self.login(wanted, wrong=True)
        cookie = cookie_of(self._token, secure=request.url.scheme == "https")
        headers = {**guard.POLICY, "Set-Cookie": cookie}
        return RedirectResponse(links.back_to(wanted), 303, headers)

    def _box_page(
        self, text: str, message: str, details: Iterable[tuple[str, str]], *, status: int = 200
    ) -> Response:
        values = {"text": text, "message": message, "details": details}
        return self._html(self._templates.html("paste", **values), status)

    async def _made(self, make: Callable[[], str]) -> Response:
        """A page that is made off the event loop."""
        try:
            return self._html(await self._reads.run(make))
        except LedgerError as error:
            raise LedgerUnavailable(f"This page cannot be made now: {error}") from error

    @staticmethod
    def _html(text: str, status: int = 200) -> Response:
        return HTMLResponse(text.encode(errors="replace"), status, guard.POLICY)


def screen_of(
    *,
    pipeline: Pipeline,
    view: LedgerView | None,
    queue: Ledger | None,
    reads: Reads,
    settings: Settings,
    admission: Admission,
) -> Screen:
    """The screen over a ledger, which `queue` tells of as it is now, or without one."""
    templates, forms = Templates(), Forms(settings=settings, admission=admission)
    box = PasteBox(pipeline=pipeline, settings=settings, admission=admission, forms=forms)
    pages = None if view is None else Pages(view=view, pipeline=pipeline, templates=templates)
    return Screen(
        pages=pages,
        queue=queue,
        pipeline=pipeline,
        reads=reads,
        templates=templates,
        box=box,
        forms=forms,
        token=settings.api_token,
    )


def ui_router(screen: Screen) -> APIRouter:
    """Every page of the ledger, the box, and the assets."""
    router = APIRouter(prefix="/ui", include_in_schema=False)
    _add_pages(router, screen)
    _add_places(router, screen)
    _add_box(router, screen)
    _add_login(router, screen)
    _add_assets(router)
    return router


def _add_pages(router: APIRouter, screen: Screen) -> None:
    @router.get("")
    async def bare() -> Response:
        # Relative, so that it holds behind any prefix.
        return RedirectResponse("ui/", headers=guard.POLICY)

    @router.get("/")
    async def runs() -> Response:
        return await screen.runs()

    @router.get("/run")
    async def run(
        name: RunName,
        show: Filter | None = None,
        before: Annotated[int | None, Query(ge=-1, le=_MOST)] = None,
    ) -> Response:
        if show is None:
            return await screen.page(lambda pages: pages.run(name, before))
        return await screen.page(lambda pages: pages.filtered(name, show))


def _add_places(router: APIRouter, screen: Screen) -> None:
    @router.get("/step")
    async def step(
        name: RunName, number: StepNumber, sort: Sort = "worst", show: Outcome | None = None
    ) -> Response:
        return await screen.page(lambda pages: pages.step(name, number, sort, show))

    @router.get("/group")
    async def group(name: RunName, number: StepNumber, key: GroupKey) -> Response:
        return await screen.page(lambda pages: pages.group(name, number, key))

    @router.get("/rollout")
    async def rollout(number: Number) -> Response:
        return await screen.page(lambda pages: pages.rollout(number))

    @router.get("/judge")
    async def judge(number: Number) -> Response:
        return await screen.page(lambda pages: pages.judge(number))


def _add_box(router: APIRouter, screen: Screen) -> None:
    @router.get("/score")
    async def box() -> Response:
        return screen.box()

    @router.post("/score")
    async def scored(request: Request) -> Response:
        return await screen.scored(request)


def _add_login(router: APIRouter, screen: Screen) -> None:
    @router.get("/login")
    async def login(to: str = "") -> Response:
        return screen.login(to)

    @router.post("/login")
    async def opened(request: Request) -> Response:
        return await screen.opened(request)


def _add_assets(router: APIRouter) -> None:
    files = assets()

    @router.get("/assets/{name}")
    async def asset(name: str, request: Request) -> Response:
        found = files.get(name)
        if found is None:
            raise HTTPException(404)
        headers = {**guard.POLICY, "Cache-Control": "no-cache", "ETag": found.tag}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.media_type)
