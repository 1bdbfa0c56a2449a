"""One connection pool for each process and service, on an event loop in a daemon thread.

Trainers call module-level functions from any thread and event loop, in processes that they fork or
spawn, so what these calls share cannot belong to a caller.
"""

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from citemark_grpo.client import ScoreClient
from citemark_grpo.gathering import Gatherer
from citemark_grpo.settings import ClientSettings

_Got = TypeVar("_Got")

_BATCH_ITEMS = 16
_PARALLEL = 16
# A few times what 256 coroutines of one loop need to get here; a judgement takes far longer.
_GATHER_S = 0.005
_MAX_WAITING = 16_384
_OPEN_S = 60.0
_CLOSE_S = 2.0
# In effect none: a call that timed out is never retried, so the deadline alone bounds it.
_CALL_S = 86_400.0


class Source:
    """A `Gatherer` for any thread and event loop. Raises `ValueError` for a bad `url`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._client = ScoreClient(
            url,
            timeout_s=_CALL_S,
            attempts=None,
            parallel=_PARALLEL,
            batch_items=_BATCH_ITEMS,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
        )
        self.gatherer = Gatherer(
            self._client, batch_items=_BATCH_ITEMS, gather_s=_GATHER_S, max_waiting=_MAX_WAITING
        )
        self._loop = asyncio.new_event_loop()
        # A daemon, because the interpreter's exit would wait for any other thread.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="citemark-source", daemon=True
        )
        self._thread.start()
        self.submit(self._client.__aenter__()).result(_OPEN_S)

    def submit(self, call: Coroutine[Any, Any, _Got]) -> concurrent.futures.Future[_Got]:
        """Run a coroutine of `gatherer`; cancelling the future withdraws its rollouts."""
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("this source of results is closed")
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self) -> None:
        """Cancel what is in flight and end the thread; each takes at most two seconds."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._client.__aexit__()

        concurrent.futures.wait([self.submit(end())], timeout=_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        if not self._thread.is_alive():  # a running loop cannot be closed
            self._loop.close()


class _Sources:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str | None], Source] = {}
        self._inherited: list[Source] = []

    def of(self, url: str, token: str | None) -> Source:
        with self._lock:
            source = self._open.get((url, token))
            if source is None:
                source = self._open[url, token] = Source(url, token)
            return source

    def renew(self) -> None:
        """Start empty in a forked child, which has none of its parent's threads."""
        # A thread of the parent may have held the old one, and would never release it here.
        self._lock = threading.Lock()
        # Not collected: their destructors would reach into the parent's selector.
        self._inherited.extend(self._open.values())
        self._open = {}

    def close(self) -> None:
        with self._lock:
            sources, self._open = list(self._open.values()), {}
        for source in sources:
            source.close()


_SOURCES = _Sources()
atexit.register(_SOURCES.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SOURCES.renew)


def source_of(settings: ClientSettings) -> Source:
    token = settings.api_token
    return _SOURCES.of(settings.url, None if token is None else token.get_secret_value())


def close_sources() -> None:
    """Close all sources of this process; a later call opens new ones."""
    _SOURCES.close()
