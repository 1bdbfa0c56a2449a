"""The API token, in the four places where trainers' clients can send one."""

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
# Readable without a token. Other paths, later ones included, need it.
_OPEN: Final = frozenset({"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
_WAYS: Final = (
    "send it as 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN', "
    "or where no header can be set as '?token=TOKEN' or before the path as '/t/TOKEN/…'"
)


class TokenGate:
    """ASGI middleware: answers 401 without the right token, before the body is read.

    Tokens are taken out of path and query even where none is required (`token` is None), so that
    routes, logs and answers never see one.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr | None) -> None:
        self._app = app
        self._wanted = None if token is None else _digest(token.get_secret_value())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tokens = [*_read_headers(Headers(scope=scope)), *_take_path(scope), *_take_query(scope)]
        is_open = scope["method"] in ("GET", "HEAD") and scope["path"] in _OPEN
        wanted = self._wanted
        # One of them is enough, since some clients always send a key of their own. All are
        # compared, so that the time reveals nothing.
        equal = [wanted and hmac.compare_digest(_digest(each), wanted) for each in tokens]
        if wanted is None or is_open or any(equal):
            await self._app(scope, receive, send)
            return
        # RFC 6750, section 3: no error code where no token was sent.
        challenge = 'Bearer realm="citemark"' + (', error="invalid_token"' if tokens else "")
        lack = "is not the one of this service" if tokens else "is needed"
        problem = to_problem(Unauthorized(f"the API token {lack}; {_WAYS}"))
        refusal = to_response(Unauthorized.status, problem, {"WWW-Authenticate": challenge})
        await refusal(scope, receive, send)


def _digest(text: str) -> bytes:
    """A hash, of one length for all texts, so that comparing does not reveal the token's."""
    return hashlib.blake2b(text.encode("utf-8", "replace")).digest()


def _read_headers(headers: Headers) -> list[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [each for each in (bearer, headers.get("x-api-key", "").strip()) if each]


def _take_path(scope: Scope) -> list[str]:
    """Take the token prefix off the path, and return its token."""
    path: str = scope["path"]
    if not path.startswith(_PREFIX):
        return []
    token, _, rest = path.removeprefix(_PREFIX).partition("/")
    # In place: the envelope looks up the route in this same scope.
    scope["path"] = f"/{rest}"
    scope["raw_path"] = quote(scope["path"]).encode()
    return [token] if token else []


def _take_query(scope: Scope) -> list[str]:
    """Take `token` out of the query, and return its values."""
    pairs = [pair.partition(b"=") for pair in scope["query_string"].split(b"&")]
    scope["query_string"] = b"&".join(b"".join(pair) for pair in pairs if pair[0] != b"token")
    return [unquote(value.decode("latin-1")) for name, _, value in pairs if name == b"token"]
