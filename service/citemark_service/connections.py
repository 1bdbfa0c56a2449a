"""The server's connections: uvicorn's HTTP/1.1, bounded where the application sees nothing yet.

A peer that has not sent a whole request head costs a descriptor and little memory, for
`header_timeout_s` at most. Where there are too many connections, those give way first, the oldest
before the others, then those that are idle between two requests, then those that were refused.
"""

import asyncio
import ipaddress
import logging
from collections import Counter, OrderedDict
from itertools import chain
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from citemark_service.settings import Settings

_log = logging.getLogger("citemark.connections")

_AHEAD = 16  # requests that a peer may send before the first is answered
_PER_HEADER = 4  # bytes of ": " and the line's end
_FLUSH_S = 5.0  # for the last answer on a connection


class Connections:
    """All open connections, at most `limit`. For one event loop."""

    def __init__(self, settings: Settings, limit: int) -> None:
        self.settings = settings
        self._limit = limit
        self._proxies = [ipaddress.ip_network(each) for each in settings.trusted_proxies]
        self._peers: dict[BoundedHttp, str] = {}
        self._counts = Counter[str]()
        # Those that owe a request, the longest wait first: their first one, or another.
        self._new = OrderedDict[BoundedHttp, None]()
        self._idle = OrderedDict[BoundedHttp, None]()

    def add(self, connection: "BoundedHttp") -> None:
        """Count a new connection; one too many is aborted, the new one where all others work."""
        peer = self._peers[connection] = connection.client[0] if connection.client else ""
        self._counts[peer] += 1
        self._new[connection] = None
        crowds = self._counts[peer] > self.settings.max_peer_connections and not self._trusts(peer)
        if not crowds and len(self._peers) <= self._limit:
            return
        refused = (each for each in self._peers if each.is_refused)
        waiting = (each for each in chain(self._new, self._idle, refused) if each is not connection)
        spare = next(
            (each for each in waiting if not crowds or self._peers[each] == peer), connection
        )
        self.remove(spare)
        spare.transport.abort()
        bound = "max_peer_connections" if crowds else "max_connections"
        _log.warning("too many connections: closed one beyond %s", bound)

    def begin_work(self, connection: "BoundedHttp") -> None:
        """A request's head is whole."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def end_work(self, connection: "BoundedHttp") -> None:
        """All requests are answered."""
        if connection in self._peers:  # not one that was aborted
            self._idle[connection] = None

    def remove(self, connection: "BoundedHttp") -> None:
        self.begin_work(connection)
        peer = self._peers.pop(connection, None)
        if peer is not None:
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def _trusts(self, peer: str) -> bool:
        return bool(peer) and any(ipaddress.ip_address(peer) in each for each in self._proxies)


class BoundedHttp(HttpToolsProtocol):
    """One connection. Bounds the bytes of a head and what frames a body, the time to a whole head,
    and the time in which an answer is not read; bodies are bounded by the application.

    Upgrades are declined by answering the request as it is (RFC 9110, section 7.8): uvicorn would
    drop the body of one that offers HTTP/2, as `curl --http2` does.
    """

    def __init__(self, *args: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections = connections
        self._limits = connections.settings
        self._clock: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of the head, and of trailers, that the parser has told
        self._untold = 0  # bytes since it last told anything

    @property
    def is_refused(self) -> bool:
        """Whether it got its last answer, and still sends the body that was not wanted."""
        cycle = self.cycle
        return bool(cycle and cycle.response_started and cycle.more_body and not cycle.keep_alive)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.add(self)
        self._set_clock(self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        limit = self._limits.max_header_bytes
        self._untold += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if len(self.pipeline) > _AHEAD:
                self._refuse(429, f"over {_AHEAD} requests were sent ahead of their answers")
            elif self._head <= limit:
                self._refuse(400, "this is no HTTP/1.1 request")
        if self._head + self._untold > limit:
            self._refuse(431, f"the headers are over max_header_bytes, {limit}")

    def _should_upgrade(self) -> bool:
        return True  # uvicorn then ignores what its parser tells of the request

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the same request once more without its wish, and what came behind its head."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(400, "this is no proxy")
            return
        lines = (name + b": " + value for name, value in self.headers if name != b"upgrade")
        start = self.parser.get_method() + b" " + self.url + b" HTTP/1.1"
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join((start, *lines, b"", rest)))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._untold = 0
        self._unset_keepalive_if_required()
        if self._clock is None:
            self._set_clock(self._limits.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + _PER_HEADER)
        super().on_header(name, value)

    def _count_head(self, more: int) -> None:
        self._untold = 0
        self._head += more
        if self._head > self._limits.max_header_bytes:
            raise ValueError  # the parser stops

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            # Both: the answer to an earlier request may have started the second meanwhile.
            self._stop_clock()
            self._unset_keepalive_if_required()
            self._connections.begin_work(self)
        if len(self.pipeline) > _AHEAD:
            raise ValueError  # the parser stops

    def on_body(self, body: bytes) -> None:
        self._untold = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        if not self.pipeline and self.cycle.more_body:
            # The rest of the body would be read for as long as it comes.
            self.transport.close()
        super().on_response_complete()
        if self.transport.is_closing():
            self._set_clock(self._limits.stream_idle_s)
        elif self.timeout_keep_alive_task is not None:
            self._connections.end_work(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_clock(self._limits.stream_idle_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_clock()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # `close` would wait for a peer that does not read

    def _set_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._give_up)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _give_up(self) -> None:
        self._clock = None
        if self.flow.write_paused or self.transport.is_closing() or not self._head + self._untold:
            self.transport.abort()
        else:
            limit_s = self._limits.header_timeout_s
            self._refuse(408, f"the headers did not end within {limit_s:g} s")

    def _refuse(self, status: int, reason: str) -> None:
        """Close, after an answer where no other one is under way."""
        if self.transport.is_closing():
            return
        _log.warning("closed a connection: %s", reason)
        if self.cycle is None or self.cycle.response_complete:
            lines = (
                STATUS_LINE[status] + b"content-type: text/plain",
                b"content-length: %d" % len(reason),
                b"connection: close",
                b"",
                reason.encode(),
            )
            self.transport.write(b"\r\n".join(lines))
        self.transport.close()
        self._set_clock(_FLUSH_S)
