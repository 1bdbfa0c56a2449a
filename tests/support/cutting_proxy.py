"""A proxy on loopback that breaks connections, as clients do that stop waiting.

    with cutting_proxy(service_url, cuts=2, after_s=0.3) as proxy:
        ...  # proxy.url in place of service_url; proxy.cut counts what was broken

The service behind it sees its client leave; the client sees its server leave, and may post again.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 65_536
_PATIENCE_S = 30.0


class CuttingProxy:
    """Breaks each of the first `cuts` connections `after_s` after it was first written to."""

    def __init__(self, target: str, *, cuts: int, after_s: float) -> None:
        split = urlsplit(target)
        self._target = (split.hostname, split.port)
        self._left = cuts
        self._after_s = after_s
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut = 0
        self.url = ""

    async def listen(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Break what is open."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            first = await reader.read(_CHUNK)
            answers, upstream = await asyncio.open_connection(*self._target)
            upstream.write(first)
            await self._piped((reader, upstream), (answers, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass  # either side left, or the test ends: both sides are broken off below
        finally:
            writer.transport.abort()
            if upstream is not None:
                upstream.transport.abort()

    async def _piped(self, *ways: _Way) -> None:
        pumps = [asyncio.create_task(_pumped(*way)) for way in ways]
        doomed, self._left = self._left > 0, max(0, self._left - 1)
        try:
            await asyncio.wait(
                pumps,
                timeout=self._after_s if doomed else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            self.cut += doomed
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()


@contextmanager
def cutting_proxy(target: str, *, cuts: int, after_s: float = 0.3) -> Iterator[CuttingProxy]:
    """A running proxy, in a thread with a loop of its own."""
    proxy = CuttingProxy(target, cuts=cuts, after_s=after_s)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.listen(), loop).result(_PATIENCE_S)
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(_PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_PATIENCE_S)
        loop.close()
