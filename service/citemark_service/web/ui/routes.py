"""The routes under `/ui`: pages for people, the login, and the form that scores a rollout.

Browsers can set no header: the token is entered once, in a form or as `?token=`, and becomes a
cookie that holds for `page_login_s`. It opens the pages only; scripts cannot read it, and browsers
do not send it with requests from other sites. An address with the token is redirected before a
page could pass it on. None of these routes is in the OpenAPI document.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from importlib import resources
from typing import Final
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from citemark_schemas import Knobs, RequestOptions
from citemark_service.errors import InvalidRequest, TooLarge, WrongTokens
from citemark_service.ledger.ledger import Ledger
from citemark_service.ledger.reading import LedgerReader
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.admission import Admission, Guesses, Reads
from citemark_service.web.envelope import PAGE_OPEN, address_of
from citemark_service.web.intake import parse_rollout, read_body, run_unless_gone, to_origin
from citemark_service.web.problems import to_refusal
from citemark_service.web.ui import links
from citemark_service.web.ui.pages import Pages, rollout_page
from citemark_service.web.ui.templates import POLICY, Templates, to_response

_COOKIE: Final = "citemark_pages"
_PASS: Final = re.compile(rf"\b{_COOKIE}=(?P<until>\d{{1,12}})\.(?P<signed>[0-9a-f]{{64}})(?!\w)")
_ATTRIBUTES: Final = "; HttpOnly; SameSite=Strict"

# Loads its own address again, now from this site, so that the cookie comes along.
_ONCE_MORE: Final = '<!doctype html><title>Citemark</title><p><a href="">Open this page</a></p>'
_LOGIN_BYTES: Final = 16_384
_ESCAPED: Final = 3  # bytes that a form may make of one: `%22`
_READ_S: Final = 10.0  # for one page
_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageDoor:
    """ASGI middleware before the `TokenGate`: turns the cookie into the token, for pages only.

    With the token in its address, a page sets the cookie and redirects to itself without the token;
    with none, it redirects to the form; with a wrong one, the form is the answer.
    """

    app: ASGIApp
    passes: "Passes"
    templates: Templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = scope["type"] == "http" and links.is_page(scope["path"])
        try:
            answer = self._choose(scope) if page else self.app
        except WrongTokens as error:
            answer = to_refusal(error)
        await answer(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        """The app, or a response in its place. Raises `WrongTokens`."""
        headers, path, get = Headers(scope=scope), scope["path"], scope["method"] == "GET"
        pairs = scope["query_string"].decode("latin-1").split("&")
        tokens = [pair.removeprefix("token=") for pair in pairs if pair.startswith("token=")]
        rest = "&".join(pair for pair in pairs if not pair.startswith("token="))
        address = address_of(scope)
        if get and tokens and self.passes.opens(map(unquote, tokens), address):
            return self._lead_on(scope, rest)
        # The form, and what it loads; neither holds anything private.
        is_open = path == "/ui/login" or path.startswith("/ui/assets/")
        if is_open or self.passes.shows_pass(headers, address):
            scope["state"][PAGE_OPEN] = True
            return self.app
        # Left to the gate: tokens in headers, and those in the address of a form that is posted.
        if "authorization" in headers or "x-api-key" in headers or (tokens and not get):
            return self.app
        way, wanted = links.way_back(scope["raw_path"]), links.name_page(path, rest)
        if tokens:
            return self.templates.respond("login", status=403, wrong=True, to=wanted, up=way)
        if get and headers.get("sec-fetch-site") == "cross-site":
            # Browsers hold the cookie back where a link of another site led here.
            return to_response(_ONCE_MORE, headers={**POLICY, "Refresh": "0"})
        return RedirectResponse(way + links.to_login(wanted), 303, POLICY)

    def _lead_on(self, scope: Scope, rest: str) -> Response:
        """Redirect to the same page without its token, with the cookie for the folder."""
        # Relative addresses hold behind any prefix.
        way = links.way_back(scope["raw_path"])
        if way:  # the cookie is for the folder it is set in, so go there first
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{way}?{query}", 303, POLICY)
        page = scope["raw_path"].decode("latin-1").rpartition("/")[2]
        # Behind `./`, no name of a page can be taken for another host's.
        answer = RedirectResponse(f"./{page}?{rest}" if rest else f"./{page}", 303, POLICY)
        self.passes.set_cookie(answer, scope["scheme"])
        return answer


class Passes:
    """The token that opens the pages, and the passes that are made of it for browsers to keep."""

    def __init__(self, token: SecretStr, guesses: Guesses, lasts_s: int) -> None:
        self._token = token.get_secret_value().encode()
        self._guesses = guesses
        self._lasts_s = lasts_s

    def opens(self, tokens: Iterable[str], address: str) -> bool:
        """Whether one of them, >= 1, is the token. Raises `WrongTokens`."""
        self._guesses.require_few(address)
        wanted = _sign(self._token, "token")
        signed = (_sign(each.encode(errors="replace"), "token") for each in tokens)
        equal = [hmac.compare_digest(each, wanted) for each in signed]
        self._guesses.count(address, right=any(equal))
        return any(equal)

    def shows_pass(self, headers: Headers, address: str) -> bool:
        """Whether the cookie is there and holds still. Raises as `opens`: a pass can be guessed by
        guessing its token."""
        found = _PASS.search(headers.get("cookie", ""))
        if found is None or int(found["until"]) < time.time():
            return False
        self._guesses.require_few(address)
        right = hmac.compare_digest(found["signed"], _sign(self._token, found["until"]))
        self._guesses.count(address, right=right)
        return right

    def set_cookie(self, answer: Response, scheme: str) -> None:
        until = str(int(time.time()) + self._lasts_s)
        secure = "; Secure" if scheme == "https" else ""
        # No `Path`: the browser takes the page's folder, whatever prefix that has.
        value, attributes = f"{until}.{_sign(self._token, until)}", f"{_ATTRIBUTES}{secure}"
        answer.headers["Set-Cookie"] = f"{_COOKIE}={value}; Max-Age={self._lasts_s}{attributes}"


def _sign(token: bytes, text: str) -> str:
    """64 characters that only who knows the token can make, and that do not reveal it."""
    return hmac.digest(token, f"citemark pages {text}".encode(), "sha256").hex()


def _add_login(
    router: APIRouter, admission: Admission, templates: Templates, passes: Passes | None
) -> None:
    @router.get("/login")
    async def show(to: str = "") -> Response:
        """The form, or a redirect to the page `to` where no token is needed."""
        if passes is None:
            return RedirectResponse(links.to_wanted(to), 303, POLICY)
        return templates.respond("login", wrong=False, to=to)

    @router.post("/login")
    async def submit(request: Request) -> Response:
        """A redirect with the cookie, or the form again. Raises as `read_fields`, and
        `WrongTokens`."""
        if passes is None:
            return await show()
        fields = await read_fields(request, limit=_LOGIN_BYTES, admission=admission)
        wanted = fields.get("to", "")
        if not passes.opens([fields.get("token", "")], address_of(request.scope)):
            return templates.respond("login", status=403, wrong=True, to=wanted)
        answer = RedirectResponse(links.to_wanted(wanted), 303, POLICY)
        passes.set_cookie(answer, request.url.scheme)
        return answer

    @router.post("/logout")
    async def leave() -> Response:
        answer = RedirectResponse("login", 303, POLICY)
        answer.headers["Set-Cookie"] = f"{_COOKIE}=; Max-Age=0{_ATTRIBUTES}"
        return answer


async def read_fields(request: Request, *, limit: int, admission: Admission) -> Mapping[str, str]:
    """A form's fields by name, of each the first.

    Raises:
        RequestError: over `limit` bytes, it stopped arriving, or there is no room for it.
        ClientDisconnect: the client went away.
    """
    with admission.buffered.hold() as held:
        body = await read_body(request, admission, held, limit=limit)
        # Unescaping megabytes would hold the event loop.
        return await asyncio.to_thread(_parse_fields, body)


def _parse_fields(body: bytes) -> dict[str, str]:
    try:
        text = body.decode("utf-8", "replace")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=8)
    except ValueError:  # more fields than any of these forms has
        return {}
    # Browsers send line ends as CR LF.
    return {name: value.replace("\r\n", "\n") for name, value in reversed(pairs)}


def _add_paste_form(
    router: APIRouter, pipeline: Pipeline, admission: Admission, reads: Reads, templates: Templates
) -> None:
    """The form that scores a pasted rollout, within the bounds of `/v1/score`."""
    respond = partial(templates.respond, "paste", message="", details=())

    @router.get("/score")
    async def show() -> Response:
        file = resources.files("citemark_service.examples") / "rollout.json"
        return respond(text=file.read_text("utf-8"))

    @router.post("/score")
    async def submit(request: Request) -> Response:
        """The rollout's page, or the form with what is wrong."""
        admission.require_open()
        with admission.rollouts.hold() as held:
            held.take()
            limit = admission.settings.max_rollout_bytes
            fields = await read_fields(request, limit=_ESCAPED * limit, admission=admission)
            text = fields.get("rollout", "")
            raw = text.encode(errors="replace")
            if len(raw) > limit:
                message = f"{len(raw)} bytes are over max_rollout_bytes, {limit}"
                # Without its text, which is too long to send back.
                return respond(text="", message=message, status=TooLarge.status)
            try:
                parse = partial(parse_rollout, raw, Knobs(), pipeline.read)
                rollout = await pipeline.threads.run("ui", parse)
            except InvalidRequest as error:
                message, details = str(error), error.details
                return respond(text=text, message=message, details=details, status=error.status)
            admission.require_open()
            async with admission.work():
                origin = to_origin(request, "ui", RequestOptions())
                scoring = pipeline.score(
                    rollout, request=Knobs(), position=0, deadline=None, origin=origin
                )
                result = await run_unless_gone(request.receive, scoring)
        page = partial(rollout_page, templates, pipeline, rollout, result)
        return to_response(await reads.run(page))


def ui_router(
    pipeline: Pipeline,
    admission: Admission,
    reads: Reads,
    view: LedgerReader | None,
    ledger: Ledger | None,
    *,
    templates: Templates,
    passes: Passes | None,
) -> APIRouter:
    """The pages, forms and assets. Without `view`, its pages say how to get a ledger."""
    router = APIRouter(prefix="/ui", include_in_schema=False)

    @router.get("")
    async def lead_to_folder() -> Response:
        # Relative, so that it holds behind any prefix.
        return RedirectResponse("ui/", headers=POLICY)

    async def respond_off() -> Response:
        return templates.respond("off")

    if view is None:
        for path in ("/", "/run", "/step", "/group", "/rollout", "/judge"):
            router.add_api_route(path, respond_off)
    else:
        _add_pages(router, Pages(view, pipeline, templates), ledger, reads)
    _add_paste_form(router, pipeline, admission, reads, templates)
    _add_login(router, admission, templates, passes)
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
