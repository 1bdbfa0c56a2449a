"""Where the callables get their results: one connection pool for each process and service.

Trainers call a module-level function from whatever thread and event loop they have, one rollout
or a thousand at a time, in processes that they fork or spawn. What those calls share lives here,
on an event loop in a daemon thread of its own.
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
_GATHER_S = 0.005
"""A few times what 256 coroutines of one loop need to get here, and nothing beside a judgement."""
_MAX_WAITING = 16_384
_OPEN_S = 60.0
_CLOSE_S = 2.0
_CALL_S = 86_400.0
"""The deadline alone bounds a call: one that was given up is never tried again."""


class Source:
    """A `Gatherer` that any thread and any event loop may use.

    Args:
        url: The service's root.
        token: For `Authorization: Bearer`.

    Raises:
        ValueError: `url` is none that could be called.
    """

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
        # A daemon, so that an interpreter that ends does not wait for it.
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="citemark-source", daemon=True
        )
        self._thread.start()
        self.submit(self._client.__aenter__()).result(_OPEN_S)

    def submit(self, call: Coroutine[Any, Any, _Got]) -> concurrent.futures.Future[_Got]:
        """Run a coroutine of `gatherer`; cancelling its future takes its rollouts back."""
        if self._loop.is_closed():
            call.close()
            raise RuntimeError("this source of results is closed")
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    def close(self) -> None:
        """Give up what is under way, and end the thread; takes two seconds at most."""
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
        if not self._thread.is_alive():
            self._loop.close()


class _Sources:
    """The open sources of this process, by service and token."""

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
        """In a forked child: its parent's threads are not here, and its lock may never open."""
        self._lock = threading.Lock()
        # Kept, because taking them down would reach into the parent's selector.
        self._inherited.extend(self._open.values())
        self._open = {}

    def close(self) -> None:
        with self._lock:
            sources, self._open = list(self._open.values()), {}
        for source in sources:
            source.close()


# Trainers call module-level functions, so what these share has no other place to be.
_SOURCES = _Sources()
atexit.register(_SOURCES.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SOURCES.renew)


def source_of(settings: ClientSettings) -> Source:
    """This process's source for the service and token of `settings`."""
    token = settings.api_token
    return _SOURCES.of(settings.url, None if token is None else token.get_secret_value())


def close_sources() -> None:
    """Close every source of this process; a later call opens a new one."""
    _SOURCES.close()
