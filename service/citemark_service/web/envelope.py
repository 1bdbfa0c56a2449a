"""ASGI middleware around every exchange: the API token, request id, metrics, trace, access line.

The token is read in the four places where trainers' clients can send one.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import time
import uuid
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, unquote

from opentelemetry.trace import SpanKind, Tracer, format_trace_id
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from citemark_service.errors import HeadersTooLarge, Unauthorized, WrongTokens
from citemark_service.telemetry.logs import log_fields, set_log_context
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import Attributes, mark_failed, open_span, set_attributes
from citemark_service.web.admission import Admission, Guesses
from citemark_service.web.problems import to_problem, to_refusal, to_response

PAGE_OPEN: Final = "citemark_page_open"
"""In the scope's state: whether the pages' door let the request in."""
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

    def __init__(self, app: ASGIApp, *, token: SecretStr | None, guesses: Guesses) -> None:
        self._app = app
        self._guesses = guesses
        self._wanted = None if token is None else _digest(token.get_secret_value())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # No route reads a cookie, but FastAPI has all parsed, in time that is quadratic in Python
        # before 3.11.10. In place, as below: the envelope looks up the route in this same scope.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
        tokens = [*_read_headers(Headers(scope=scope)), *_take_path(scope), *_take_query(scope)]
        is_open = scope["method"] in ("GET", "HEAD") and scope["path"] in _OPEN
        if is_open or self._wanted is None or scope["state"].get(PAGE_OPEN):
            await self._app(scope, receive, send)
            return
        try:
            right = self._find(tokens, self._wanted, address_of(scope))
        except WrongTokens as error:
            await to_refusal(error)(scope, receive, send)
            return
        if right:
            await self._app(scope, receive, send)
            return
        # RFC 6750, section 3: no error code where no token was sent.
        challenge = 'Bearer realm="citemark"' + (', error="invalid_token"' if tokens else "")
        lack = "is not the one of this service" if tokens else "is needed"
        problem = to_problem(Unauthorized(f"the API token {lack}; {_WAYS}"))
        refusal = to_response(Unauthorized.status, problem, {"WWW-Authenticate": challenge})
        await refusal(scope, receive, send)

    def _find(self, tokens: list[str], wanted: bytes, address: str) -> bool:
        """Whether the right one is among them. Raises `WrongTokens`."""
        if not tokens:
            return False
        self._guesses.require_few(address)
        # One of them is enough, since some clients always send a key of their own. All are
        # compared, so that the time reveals nothing.
        equal = [hmac.compare_digest(_digest(each), wanted) for each in tokens]
        self._guesses.count(address, right=any(equal))
        return any(equal)


def address_of(scope: Scope) -> str:
    return (scope.get("client") or ("",))[0]


def _digest(text: str) -> bytes:
    """A hash, of one length for all texts, so that comparing does not reveal the token's."""
    return hashlib.blake2b(text.encode("utf-8", "replace")).digest()


def _read_headers(headers: Headers) -> list[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return [each for each in (bearer, headers.get("x-api-key", "").strip()) if each]


def _take_path(scope: Scope) -> list[str]:
    """Take the token prefix and a slash at the end off the path, and return the token.

    A redirect to the address without the slash would lose the token.
    """
    path, token = scope["path"], ""
    if path.startswith(_PREFIX):
        token, _, rest = path.removeprefix(_PREFIX).partition("/")
        path = f"/{rest}"
    if not path.startswith("/ui/"):
        path = path.rstrip("/") or "/"
    if path != scope["path"]:
        scope["path"] = path
        scope["raw_path"] = quote(path).encode()
    return [token] if token else []


def _take_query(scope: Scope) -> list[str]:
    """Take `token` out of the query, and return its values."""
    pairs = [pair.partition(b"=") for pair in scope["query_string"].split(b"&")]
    scope["query_string"] = b"&".join(b"".join(pair) for pair in pairs if pair[0] != b"token")
    return [unquote(value.decode("latin-1")) for name, _, value in pairs if name == b"token"]


_access = logging.getLogger("citemark.access")

_ACCESS = "method=%s route=%s status=%d seconds=%.4f bytes=%d client=%s id=%s"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LINGER_S = 2.0
_LINGER_BYTES = 32 * 1024 * 1024


class Envelope:
    """ASGI middleware. Logs no path and no text that a caller chose, except its request id."""

    def __init__(
        self, app: ASGIApp, *, admission: Admission, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["client"] = _read_address(scope)
        exchange = Exchange(scope, receive, send, admission=self._admission)
        start = time.perf_counter()
        set_log_context(request=exchange.id)
        try:
            with self._metrics.inflight_requests.track_inprogress():
                limit = self._admission.settings.max_header_bytes
                # Again, since not every server bounds them before.
                if sum(len(name) + len(value) for name, value in scope["headers"]) > limit:
                    error = HeadersTooLarge(f"the headers are over max_header_bytes, {limit}")
                    await to_refusal(error)(scope, exchange.receive, exchange.send)
                # No traces of pages, nor of probes every few seconds.
                elif scope["method"] == "POST":
                    await self._trace(scope, exchange)
                else:
                    await self._app(scope, exchange.receive, exchange.send)
        finally:
            route, seconds = _route_of(scope), time.perf_counter() - start
            self._metrics.requests.labels(route, exchange.status).inc()
            self._metrics.request_seconds.labels(route).observe(seconds)
            fields = {
                # A client can send any token as its method.
                "method": scope["method"] if scope["method"].isalpha() else "?",
                "route": route,
                "status": exchange.status,
                "seconds": round(seconds, 4),
                "bytes": exchange.sent,
                "client": address_of(scope) or "-",
                "request": exchange.id,
            }
            _access.info(_ACCESS, *fields.values(), extra=log_fields(**fields))

    async def _trace(self, scope: Scope, exchange: "Exchange") -> None:
        caller = Headers(scope=scope)
        with open_span(self._tracer, "request", SpanKind.SERVER, caller=caller) as span:
            context = span.get_span_context()
            if context.is_valid:  # not where the tracer is off
                set_log_context(request=exchange.id, trace=format_trace_id(context.trace_id))
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                route = _route_of(scope)
                span.update_name(f"POST {route}")
                attributes: Attributes = {
                    "http.request.method": "POST",
                    "http.route": route,
                    "http.response.status_code": exchange.status,
                    "citemark.request": exchange.id,
                }
                set_attributes(span, attributes)
                if exchange.status >= 500:
                    mark_failed(span, str(exchange.status))


class Exchange:
    """One request and its response, as seen from outside the application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, admission: Admission) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        # The caller's where it is printable and short, so that it is safe in a log.
        self.id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.status = 500  # what the server answers where the application sends nothing
        self.sent = 0  # bytes of the answer's body
        self._receive = receive
        self._send = send
        self._admission = admission
        # Whether a body is announced that has not been read to its end.
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        scope.setdefault("state", {})["request_id"] = self.id

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """Send for the application, with this exchange's headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            # Draining ends connections; one with an unread body cannot be used again.
            if self._admission.draining or (self._unread and self.status >= 400):
                headers["Connection"] = "close"
            await self._send(message)
            return
        self.sent += len(message.get("body", b""))
        if self._unread and not message.get("more_body", False):
            # The answer ends only after the rest of the body was read.
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _linger(self) -> None:
        """Read on after an early answer, for 2 s or 32 MiB at most."""
        # Closing a socket with unread bytes resets the connection, and the client, still
        # writing, would never see why it was refused.
        read = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while self._unread and read < _LINGER_BYTES:
                    read += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _read_address(scope: Scope) -> tuple[str, int] | None:
    """The caller's, or None where a server took one that is none from `X-Forwarded-For`."""
    host, port = scope.get("client") or ("", 0)
    try:
        return str(ip_address(host)), port
    except ValueError:
        return None


def _route_of(scope: Scope) -> str:
    """The route's template; a path may hold anything, the token included."""
    template: str = getattr(scope.get("route"), "path", "unmatched")
    return template
