"""Around every exchange: request id, metrics, trace, access line and an orderly end."""

import asyncio
import logging
import re
import time
import uuid

from opentelemetry.trace import SpanKind, Tracer, format_trace_id
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from citemark_service.telemetry.logs import log_fields, set_log_context
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import Attributes, mark_failed, open_span, set_attributes
from citemark_service.web.admission import Admission

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
        exchange = Exchange(scope, receive, send, admission=self._admission)
        start = time.perf_counter()
        set_log_context(request=exchange.id)
        try:
            with self._metrics.inflight_requests.track_inprogress():
                # No traces of pages, nor of probes every few seconds.
                if scope["method"] == "POST":
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
                "client": (scope.get("client") or ("-",))[0],
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


def _route_of(scope: Scope) -> str:
    """The route's template; a path may hold anything, the token included."""
    template: str = getattr(scope.get("route"), "path", "unmatched")
    return template
