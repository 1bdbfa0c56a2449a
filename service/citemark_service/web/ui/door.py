"""How a browser, which can set no header, shows the pages the API token: once, in a form.

What it keeps instead of the token is a cookie that opens nothing but the pages, that no script
can read, and that it sends with nothing that another site asks for.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from citemark_service.web.ui import guard

COOKIE: Final = "citemark_pages"

_PAGES: Final = "/ui"
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

    Who comes without either is sent to the form.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr) -> None:
        self._app = app
        self._bearer = (b"authorization", b"Bearer " + token.get_secret_value().encode())
        self._pass = pass_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, or to the form."""
        if scope["type"] != "http" or not _is_page(scope["path"]):
            await self._app(scope, receive, send)
        elif _is_open(scope["path"]) or self._knows(Headers(scope=scope)):
            # In place: who records the exchange looks up its route in this same scope.
            scope["headers"] = [*_without_tokens(scope), self._bearer]
            await self._app(scope, receive, send)
        elif _has_token(scope):
            await self._app(scope, receive, send)
        else:
            form = "login" if scope["path"] != _PAGES else "ui/login"
            await RedirectResponse(form, 303, guard.POLICY)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        shown = cookies[COOKIE].value if COOKIE in cookies else ""
        return hmac.compare_digest(shown.encode("utf-8", "replace"), self._pass.encode())


def _is_page(path: str) -> bool:
    return path == _PAGES or path.startswith(f"{_PAGES}/")


def _is_open(path: str) -> bool:
    """What the form needs to be shown; nothing in it is anyone's."""
    return path == f"{_PAGES}/login" or path.startswith(f"{_PAGES}/assets/")


def _has_token(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    asked = scope["query_string"].split(b"&")
    return any(name in headers for name in _TOKENS) or any(
        part.startswith(b"token=") for part in asked
    )


def _without_tokens(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [pair for pair in scope["headers"] if pair[0] != b"authorization"]
