"""Request bodies as bytes: bounded, timed, and never read past their limit."""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from citemark_service.errors import BodyTimeout, TooLarge
from citemark_service.web.admission import Admission, Hold

T = TypeVar("T")


async def read_body(
    request: Request, admission: Admission, held: Hold, *, limit: int | None = None
) -> bytes:
    """The whole body, whose bytes count in `held` until the caller closes that.

    Raises:
        TooLarge: over `limit` bytes; where `Content-Length` says so, before any byte is read.
        Overloaded: the service buffers as many bytes as it may.
        BodyTimeout: the client sent nothing for `body_timeout_s` seconds.
        ShuttingDown: the client sent nothing while the service drains.
        ClientDisconnect: the client went away.
    """
    limit, silence_s = limit or admission.settings.max_body_bytes, admission.settings.body_timeout_s
    declared = request.headers.get("content-length", "")
    # `int` alone would also take signs, blanks and the digits of other scripts.
    length = int(declared) if declared.isascii() and declared.isdigit() else 0
    body, more = bytearray(), True
    while length <= limit and more:
        try:
            async with admission.patience(silence_s):
                chunk, more = await _next_chunk(request.receive)
        except TimeoutError as error:
            # A draining service has shortened the wait itself: 503, and no 408.
            admission.require_open()
            raise BodyTimeout(f"nothing more of the body came for {silence_s:g} s") from error
        length = len(body) + len(chunk)
        if length <= limit:
            held.take(len(chunk))
            body += chunk
    if length > limit:
        raise TooLarge(f"the body is larger than max_body_bytes, {limit} bytes")
    return bytes(body)


async def run_unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` returns; raises `ClientDisconnect` and cancels it when the client goes away.

    The whole body must have been read.
    """

    async def watch() -> None:
        while True:
            # After the end of the body, only the disconnect comes.
            await _next_chunk(receive)

    # No task group: it would wrap what `work` raises, and handlers are found by its class.
    task, gone = asyncio.ensure_future(work), asyncio.create_task(watch())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of a body and whether more follow. Raises `ClientDisconnect`."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


class Inlet:
    """A body read up to `ahead` bytes ahead of its reader, which bounds the memory.

    Only reading notices that a client goes away.
    """

    def __init__(self, receive: Receive, *, ahead: int) -> None:
        self._receive = receive
        self._ahead = ahead
        self._chunks: deque[bytes] = deque()
        self._pending = 0
        self._more = True
        self._changed = asyncio.Event()

    async def pump(self) -> None:
        """Read until `ClientDisconnect`; run it beside the reader, and cancel it at the end."""
        while True:
            chunk, more = await _next_chunk(self._receive)
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
        # A fresh event for the next change; waiters of the old one wake up.
        self._changed = asyncio.Event()
