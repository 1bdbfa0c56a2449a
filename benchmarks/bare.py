"""The floor as a server: `python bare.py JUDGE_URL REQUESTS ANSWER_BYTES`.

A bare FastAPI route that, for every two lines of the file REQUESTS, passes them on through a
bare aiohttp client, 64 at a time, and answers ANSWER_BYTES a pair. It reads, checks and
computes nothing: what is left is what the bytes cost.
"""

import asyncio
import socket
import sys
from pathlib import Path

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response

_SLOTS = 64


class Passing:
    """Sends each line of a file to a judge."""

    def __init__(self, judge_url: str, lines: list[bytes]) -> None:
        self.lines = lines
        self._url = f"{judge_url}/chat/completions"
        self._slots = asyncio.Semaphore(_SLOTS)

    async def all(self) -> None:
        """Send all lines, and read the replies."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._send(session, line) for line in self.lines))

    async def _send(self, session: aiohttp.ClientSession, line: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        async with (
            self._slots,
            session.post(self._url, data=line, headers=headers) as response,
        ):
            await response.read()


def application(passing: Passing, answer: bytes) -> FastAPI:
    """One route, with the path of the real one."""
    app = FastAPI()

    @app.post("/v1/score")
    async def score(request: Request) -> Response:
        await request.body()
        await passing.all()
        return Response(answer, media_type="application/json")

    return app


class AnnouncedServer(uvicorn.Server):
    """Says where it listens, as the service does."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        sys.stderr.write(f"serving on http://{host}:{port}\n")
        sys.stderr.flush()


def main(judge_url: str, requests: str, answer_bytes: str) -> None:
    """Serve until a signal comes."""
    lines = Path(requests).read_bytes().splitlines()
    app = application(Passing(judge_url, lines), b" " * (int(answer_bytes) * len(lines) // 2))
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False)
    AnnouncedServer(config).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
