"""Request bodies as bytes: bounded, timed, and never read further than their limit."""

import asyncio
from collections import deque

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from citemark_service.errors import BodyTimeout, TooLarge
from citemark_service.web.admission import Admission
from citemark_service.web.quota import Hold


async def next_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of a body and whether more follow.

    Raises:
        ClientDisconnect: the client went away.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def declared_length(headers: Headers) -> int:
    """What `Content-Length` announces; 0 where it says nothing."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _refuse_over(length: int, limit: int) -> None:
    if length > limit:
        raise TooLarge(f"the body is larger than max_body_bytes, {limit} bytes")


async def read_body(
    receive: Receive,
    *,
    declared: int,
    limit: int,
    held: Hold,
    admission: Admission,
    timeout_s: float,
) -> bytes:
    """The whole body, whose bytes count in `held` while the caller keeps that open.

    Args:
        declared: what the client announced; refused before a byte is read where over `limit`.
        timeout_s: longest silence between two pieces.

    Raises:
        TooLarge: over `limit` bytes.
        Overloaded: the service buffers as many bytes as it may.
        BodyTimeout: the client fell silent.
        ShuttingDown: the client fell silent while the service was stopping.
        ClientDisconnect: the client went away.
    """
    _refuse_over(declared, limit)
    body, more = bytearray(), True
    while more:
        try:
            async with admission.patience(timeout_s):
                chunk, more = await next_chunk(receive)
        except TimeoutError as error:
            admission.require_open()
            raise BodyTimeout(f"nothing more of the body came for {timeout_s:g} s") from error
        _refuse_over(len(body) + len(chunk), limit)
        held.take(len(chunk))
        body += chunk
    return bytes(body)


async def raise_when_gone(receive: Receive) -> None:
    """Wait, after the whole body was read, until the client goes away.

    Raises:
        ClientDisconnect: always, in the end.
    """
    while True:
        await next_chunk(receive)


class Inlet:
    """A body read a little ahead of its reader.

    Reading stops when the reader lags by `ahead` bytes, so memory is bounded; up to there it
    goes on, because a client that goes away is only noticed by who still reads.
    """

    def __init__(self, receive: Receive, *, ahead: int) -> None:
        self._receive = receive
        self._ahead = ahead
        self._chunks: deque[bytes] = deque()
        self._pending = 0
        self._more = True
        self._changed = asyncio.Event()

    async def pump(self) -> None:
        """Read until the client goes away; run it beside the reader and cancel it in the end.

        Raises:
            ClientDisconnect: always, unless cancelled.
        """
        while True:
            chunk, more = await next_chunk(self._receive)
            self._more = self._more and more
            if chunk:
                self._chunks.append(chunk)
                self._pending += len(chunk)
            self._notify()
            while self._pending >= self._ahead:
                await self._changed.wait()

    async def chunk(self) -> bytes | None:
        """The next piece, or None at the end of the body."""
        while not self._chunks:
            if not self._more:
                return None
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._pending -= len(chunk)
        self._notify()
        return chunk

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
