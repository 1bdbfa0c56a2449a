"""What every exchange has around it: request id, metrics, one access line, an orderly end."""

import asyncio
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from citemark_service.metrics import Metrics
from citemark_service.web.admission import Admission

_access = logging.getLogger("citemark.access")

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LINGER_S = 2.0
_LINGER_BYTES = 32 * 1024 * 1024


def _request_id(headers: Headers) -> str:
    """The caller's id where it is printable and short, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


class Exchange:
    """One request and its response, as seen from outside the application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, admission: Admission) -> None:
        headers = Headers(scope=scope)
        self.id = _request_id(headers)
        self.status = 500
        """What was answered; 500 while nothing was, because then the server answers so."""
        self.sent = 0
        self._receive = receive
        self._send = send
        self._admission = admission
        self._unread = _has_body(headers)
        scope.setdefault("state", {})["request_id"] = self.id

    async def receive(self) -> Message:
        """Pass a message in, noting whether the body is read."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        """Pass a message out, with this exchange's headers, and end it in order."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._mark(MutableHeaders(scope=message))
            await self._send(message)
            return
        self.sent += len(message.get("body", b""))
        if self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _mark(self, headers: MutableHeaders) -> None:
        headers["X-Request-ID"] = self.id
        if self._admission.draining or (self._unread and self.status >= 400):
            headers["Connection"] = "close"

    async def _linger(self) -> None:
        """Read on for a moment after an early answer.

        A socket closed with unread bytes resets the connection, and the client, still writing,
        would never see why it was refused.
        """
        read = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while self._unread and read < _LINGER_BYTES:
                    read += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


class Envelope:
    """ASGI middleware; logs no path and no text that a caller chose, except its request id."""

    def __init__(self, app: ASGIApp, *, admission: Admission, metrics: Metrics) -> None:
        self._app = app
        self._admission = admission
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one exchange."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, admission=self._admission)
        start = time.perf_counter()
        try:
            with self._metrics.inflight_requests.track_inprogress():
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange, time.perf_counter() - start)

    def _record(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.request(route=route, status=exchange.status, seconds=seconds)
        _access.info(
            "method=%s route=%s status=%d seconds=%.4f bytes=%d client=%s id=%s",
            scope["method"] if scope["method"].isalpha() else "?",
            route,
            exchange.status,
            seconds,
            exchange.sent,
            (scope.get("client") or ("-",))[0],
            exchange.id,
        )
