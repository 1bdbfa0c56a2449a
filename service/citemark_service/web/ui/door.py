"""How a browser, which can set no header, shows the pages the API token: once, in a form or as
`?token=`, which it is led away from before any page could pass the address on. The form leads on
to the page that was asked for.

What it keeps instead of the token is a cookie that opens nothing but the pages, that no script
can read, and that it sends with nothing that another site asks for.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import unquote

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from citemark_service.web.ui import guard, links
from citemark_service.web.ui.templates import Templates

COOKIE: Final = "citemark_pages"

_ONCE_MORE: Final = '<!doctype html><title>Citemark</title><p><a href="">Open this page</a></p>'
"""Asks for its own address again, now from this site, so that the cookie comes along."""
_TOKENS: Final = ("authorization", "x-api-key")


def pass_of(token: SecretStr) -> str:
    """What the cookie holds: it follows from the token, and the token does not from it."""
    return hmac.digest(token.get_secret_value().encode(), b"citemark pages", "sha256").hex()


def cookie_of(token: SecretStr, *, secure: bool) -> str:
    """A `Set-Cookie` for the folder of the page that sets it, whatever prefix that has."""
    flags = "HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    return f"{COOKIE}={pass_of(token)}; {flags}"


class PageDoor:
    """ASGI middleware before the `TokenGate`: turns the cookie into the token, for pages only.

    Who asks for a page with the token in its address is given the cookie and led to the same
    address without it; who comes with nothing is sent to the form, and who comes with another
    token in the address is shown it.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr, templates: Templates) -> None:
        self._app = app
        self._token = token
        self._bearer = (b"authorization", b"Bearer " + token.get_secret_value().encode())
        self._pass = pass_of(token)
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, or lead it elsewhere."""
        page = scope["type"] == "http" and links.is_page(scope["path"])
        answer = self._answer(scope) if page else self._app
        await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> ASGIApp:
        if scope["method"] == "GET" and self._names_token(scope):
            return self._led_on(scope)
        if _is_open(scope["path"]) or self._knows(Headers(scope=scope)):
            # In place: who records the exchange looks up its route in this same scope.
            scope["headers"] = [*_without_tokens(scope), self._bearer]
            return self._app
        if _has_header(scope):
            return self._app
        if any(map(_is_token, _pairs(scope))):
            return self._form(scope) if scope["method"] == "GET" else self._app
        if _followed(scope):
            return HTMLResponse(_ONCE_MORE, headers={**guard.POLICY, "Refresh": "0"})
        return _to(links.way_back(scope["raw_path"]) + links.login(_asked(scope)))

    def _form(self, scope: Scope) -> Response:
        """The form, where the address holds another token than this service's."""
        way, wanted = links.way_back(scope["raw_path"]), _asked(scope)
        page = self._templates.html("login", wrong=True, to=wanted, up=way)
        return HTMLResponse(page.encode(errors="replace"), 403, guard.POLICY)

    def _led_on(self, scope: Scope) -> ASGIApp:
        """To the same page without its token, with the cookie for the pages' folder.

        Addresses are relative, and so hold behind any prefix.
        """
        way, pairs = links.way_back(scope["raw_path"]), _pairs(scope)
        if way:  # from elsewhere than their folder the cookie would be for another one
            return _to(f"{way}?{'&'.join(pairs)}")
        page = scope["raw_path"].decode("latin-1").rpartition("/")[2]
        rest = _rest(scope)
        # Behind `./`, no name of a page can be taken for another host's.
        answer = _to(f"./{page}?{rest}" if rest else f"./{page}")
        answer.headers["Set-Cookie"] = cookie_of(self._token, secure=scope["scheme"] == "https")
        return answer

    def _names_token(self, scope: Scope) -> bool:
        """Whether the address holds the token of this service."""
        given = (pair.partition("=")[2] for pair in _pairs(scope) if _is_token(pair))
        passes = (pass_of(SecretStr(unquote(each))) for each in given)
        return any(hmac.compare_digest(each, self._pass) for each in passes)

    def _knows(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        shown = cookies[COOKIE].value if COOKIE in cookies else ""
        return hmac.compare_digest(shown.encode("utf-8", "replace"), self._pass.encode())


def _to(address: str) -> Response:
    return RedirectResponse(address, 303, guard.POLICY)


def _is_open(path: str) -> bool:
    """What the form needs to be shown; nothing in it is anyone's."""
    return path == "/ui/login" or path.startswith("/ui/assets/")


def _followed(scope: Scope) -> bool:
    """Whether a link of another site led here, for which browsers hold the cookie back."""
    headers = Headers(scope=scope)
    return scope["method"] == "GET" and headers.get("sec-fetch-site") == "cross-site"


def _has_header(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return any(name in headers for name in _TOKENS)


def _asked(scope: Scope) -> str:
    return links.asked(scope["path"], _rest(scope))


def _rest(scope: Scope) -> str:
    """The query without tokens."""
    return "&".join(pair for pair in _pairs(scope) if not _is_token(pair))


def _pairs(scope: Scope) -> list[str]:
    query: str = scope["query_string"].decode("latin-1")
    return query.split("&")


def _is_token(pair: str) -> bool:
    return pair.startswith("token=")


def _without_tokens(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [pair for pair in scope["headers"] if pair[0] != b"authorization"]
