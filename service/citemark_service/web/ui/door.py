"""Access to the pages for browsers, which can set no header: the token is entered once, in a form
or as `?token=`, and becomes a cookie.

The cookie opens the pages only; scripts cannot read it, and browsers do not send it with requests
from other sites. An address with the token is redirected before a page could pass it on.
"""

import hmac
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import unquote

from fastapi import Request, Response
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from citemark_service.web.admission import Admission
from citemark_service.web.ui import links
from citemark_service.web.ui.forms import read_fields, sent_from_elsewhere
from citemark_service.web.ui.templates import POLICY, Templates, to_response

_COOKIE: Final = "citemark_pages"

# Loads its own address again, now from this site, so that the cookie comes along.
_ONCE_MORE: Final = '<!doctype html><title>Citemark</title><p><a href="">Open this page</a></p>'
_LOGIN_BYTES: Final = 16_384


@dataclass(frozen=True)
class PageDoor:
    """ASGI middleware before the `TokenGate`: turns the cookie into the token, for pages only.

    With the token in its address, a page sets the cookie and redirects to itself without the token;
    with none, it redirects to the form; with a wrong one, the form is the answer.
    """

    app: ASGIApp
    token: SecretStr
    templates: Templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = scope["type"] == "http" and links.is_page(scope["path"])
        answer = self._choose(scope) if page else self.app
        await answer(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        """The app, or a response in its place."""
        headers, path, get = Headers(scope=scope), scope["path"], scope["method"] == "GET"
        pairs = scope["query_string"].decode("latin-1").split("&")
        tokens = [pair.removeprefix("token=") for pair in pairs if pair.startswith("token=")]
        rest = "&".join(pair for pair in pairs if not pair.startswith("token="))
        if get and any(_opens(SecretStr(unquote(each)), self.token) for each in tokens):
            return self._lead_on(scope, rest)
        # The form, and what it loads; neither holds anything private.
        is_open = path == "/ui/login" or path.startswith("/ui/assets/")
        if is_open or _shows_pass(headers, self.token):
            kept = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            bearer = b"Bearer " + self.token.get_secret_value().encode()
            # In place: the envelope looks up the route in this same scope.
            scope["headers"] = [*kept, (b"authorization", bearer)]
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
        _set_cookie(answer, self.token, scope["scheme"])
        return answer


@dataclass(frozen=True)
class LoginForm:
    admission: Admission
    templates: Templates

    async def show(self, to: str = "") -> Response:
        """The form, or a redirect to the page `to` where no token is needed."""
        if self.admission.settings.api_token is None:
            return RedirectResponse(links.to_wanted(to), 303, POLICY)
        return self.templates.respond("login", wrong=False, to=to)

    async def submit(self, request: Request) -> Response:
        """A redirect with the cookie, or the form again. Raises as `read_fields`."""
        token = self.admission.settings.api_token
        if token is None or sent_from_elsewhere(request.headers):
            return await self.show()
        fields = await read_fields(request, limit=_LOGIN_BYTES, admission=self.admission)
        wanted = fields.get("to", "")
        if not _opens(SecretStr(fields.get("token", "")), token):
            return self.templates.respond("login", status=403, wrong=True, to=wanted)
        answer = RedirectResponse(links.to_wanted(wanted), 303, POLICY)
        _set_cookie(answer, token, request.url.scheme)
        return answer


def _pass_of(token: SecretStr) -> str:
    """The cookie's value, which is derived from the token and does not reveal it."""
    return hmac.digest(token.get_secret_value().encode(), b"citemark pages", "sha256").hex()


def _opens(given: SecretStr, token: SecretStr) -> bool:
    return hmac.compare_digest(_pass_of(given), _pass_of(token))


def _shows_pass(headers: Headers, token: SecretStr) -> bool:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return False
    shown = cookies[_COOKIE].value if _COOKIE in cookies else ""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), _pass_of(token).encode())


def _set_cookie(answer: Response, token: SecretStr, scheme: str) -> None:
    secure = "; Secure" if scheme == "https" else ""
    # No `Path`: the browser takes the page's folder, whatever prefix that has.
    answer.headers["Set-Cookie"] = f"{_COOKIE}={_pass_of(token)}; HttpOnly; SameSite=Strict{secure}"
