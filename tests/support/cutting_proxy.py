"""A proxy on loopback that breaks connections, as clients do that stop waiting.

The service behind it sees its client leave; the client sees its server leave, and may post again.
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal


@dataclass
class CuttingProxy:
    """Breaks the first `cuts` connections that are open `after_s` after they were written to."""

    target: str
    cuts: int
    after_s: float
    cut: int = 0
    url: str = ""

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        split = urlsplit(self.target)
        first = await reader.read(65_536)
        answers, upstream = await asyncio.open_connection(split.hostname, split.port)
        upstream.write(first)
        ends = ((reader, upstream), (answers, writer))
        pumps = [asyncio.ensure_future(_pump(*each)) for each in ends]
        try:
            patience_s = self.after_s if self.cut < self.cuts else None
            ended, _ = await asyncio.wait(
                pumps, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not ended and self.cut < self.cuts:
                self.cut += 1
            elif not ended:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()
            upstream.transport.abort()


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):  # either side left
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()


@contextmanager
def cutting_proxy(target: str, *, cuts: int, after_s: float = 0.3) -> Iterator[CuttingProxy]:
    """A running proxy; `url` stands in for the target's, `cut` counts what was broken."""
    proxy = CuttingProxy(target, cuts, after_s)
    # In the end the portal's loop cancels what is open.
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(proxy.listen()):
        yield proxy
