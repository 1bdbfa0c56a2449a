"""The least that two posts a rollout cost: aiohttp, msgspec and uvloop, which judge nothing."""

import asyncio
import gc
import time
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import uvloop

_CONNECTIONS: Final = 128


class Floor:
    """Sends the requests of a step to a judge and reads the replies' JSON, in this process."""

    def __init__(self, judge_url: str, requests: Path) -> None:
        self._url = f"{judge_url}/chat/completions"
        self._bodies: list[Any] = list(map(msgspec.json.decode, requests.read_bytes().splitlines()))
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def __enter__(self) -> "Floor":
        self._runner.__enter__()
        self._session = self._runner.run(_open_session())
        return self

    def __exit__(self, *_exc: object) -> None:
        self._runner.run(self._session.close())
        self._runner.close()
        gc.unfreeze()

    def round(self) -> float:
        """CPU seconds of all posts at once, and of no rubbish but theirs."""
        gc.collect()
        gc.freeze()
        start = time.process_time()
        self._runner.run(self._post_all())
        return time.process_time() - start

    async def _post_all(self) -> None:
        await asyncio.gather(*map(self._post, self._bodies))

    async def _post(self, body: object) -> None:
        headers = {"Content-Type": "application/json"}
        data = msgspec.json.encode(body)
        async with self._session.post(self._url, data=data, headers=headers) as response:
            msgspec.json.decode(await response.read())


async def _open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CONNECTIONS))
