"""The token that callers need, in the four places where trainers can put one."""

import hashlib
import hmac
from typing import Final
from urllib.parse import quote, unquote

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from citemark_service.errors import Unauthorized
from citemark_service.web.problems import to_problem, to_response

_PREFIX: Final = "/t/"
_OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
"""What may be read without a token; whatever is added later is closed until it stands here."""
_WAYS: Final = (
    "send it as 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN', "
    "or where no header can be set as '?token=TOKEN' or before the path as '/t/TOKEN/…'"
)


class TokenGate:
    """ASGI middleware: refuses who does not know the token, before a byte of the body is read.

    Tokens leave the path and the query here, also where none is asked for, so that routes,
    logs and answers further in never see one. Where `token` is None, everyone is let in.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr | None) -> None:
        self._app = app
        self._wanted = None if token is None else _digest(token.get_secret_value())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the exchange on, or answer it with 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tokens = [*_read_headers(Headers(scope=scope)), *_take_path(scope), *_take_query(scope)]
        is_open = scope["method"] in ("GET", "HEAD") and scope["path"] in _OPEN
        wanted = self._wanted
        # Compares all, so that the time tells nothing: some clients always send a key of their own.
        equal = [wanted and hmac.compare_digest(_digest(each), wanted) for each in tokens]
        if wanted is None or is_open or any(equal):
            await self._app(scope, receive, send)
            return
        # RFC 6750, section 3: no error code for who presented nothing.
        challenge = 'Bearer realm="citemark"' + (', error="invalid_token"' if tokens else "")
        lack = "is not the one of this service" if tokens else "is needed"
        problem = to_problem(Unauthorized(f"the API token {lack}; {_WAYS}"))
        refusal = to_response(Unauthorized.status, problem, {"WWW-Authenticate": challenge})
        await refusal(scope, receive, send)


def _digest(text: str) -> bytes:
    """Of one length for all texts, so that comparing tells nothing about the token's."""
    return hashlib.blake2b(text.encode("utf-8", "replace")).digest()


def _read_headers(headers: Headers) -> list[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [each for each in (bearer, headers.get("x-api-key", "").strip()) if each]


def _take_path(scope: Scope) -> list[str]:
    """The token of the path's prefix, which is taken off."""
    path: str = scope["path"]
    if not path.startswith(_PREFIX):
        return []
    token, _, rest = path.removeprefix(_PREFIX).partition("/")
    # In place: who records the exchange looks up its route in this same scope.
    scope["path"] = f"/{rest}"
    scope["raw_path"] = quote(scope["path"]).encode()
    return [token] if token else []


def _take_query(scope: Scope) -> list[str]:
    """The values of `token` in the query, which are taken out."""
    pairs = [pair.partition(b"=") for pair in scope["query_string"].split(b"&")]
    scope["query_string"] = b"&".join(b"".join(pair) for pair in pairs if pair[0] != b"token")
    return [unquote(value.decode("latin-1")) for name, _, value in pairs if name == b"token"]
