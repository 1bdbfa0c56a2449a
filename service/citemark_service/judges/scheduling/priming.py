"""Priming: one short call with what a group's prompts share, before the first of them.

A server whose prefix cache keeps only the end of each prompt (recurrent layers, see the README)
finds nothing of it in the next sample's prompt, for between the shared part and the end lies the
answer. A call that ends where the shared part ends leaves that in the cache for all of them.
Its message is left open: what a chat template closes it with could push the state that is kept past
the end of the shared part.
"""

import asyncio
import dataclasses
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from citemark_service.errors import JudgeError
from citemark_service.judges.chat import ChatRequest
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.server import Server
from citemark_service.judges.scheduling.slots import Displaced
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Tracer, Untraced

_TTL_S: Final = 300.0
_GROUPS_KEPT: Final = 4096


@dataclass(slots=True)
class _Prime:
    """A prime that goes on until `done`, and counts until `until`."""

    until: float
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Priming:
    """Primes each group once on each server, whatever comes of it.

    Nothing fails here: after `wait_s` seconds, or when the prime failed, the call goes ahead.
    """

    def __init__(
        self,
        *,
        wait_s: float,
        metrics: Metrics,
        ttl_s: float = _TTL_S,
        tracer: Tracer | None = None,
    ) -> None:
        self._wait_s = wait_s
        self._ttl_s = ttl_s
        self._metrics = metrics
        self._tracer = tracer or Untraced()
        self._primes: dict[str, OrderedDict[str, _Prime]] = {}

    async def before(
        self, server: Server, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> None:
        """Return when `request` may be sent to `server`.

        Its call pays for the prime where it is the group's first; the others wait for that one.

        Raises:
            Displaced: see there.
        """
        if not (request.affinity and request.shared):
            return
        prime = self._prime(server, request.affinity)
        if prime is None:
            with self._tracer.span("prime"):
                await self._send(server, request, meter=meter, deadline=deadline)
        elif not prime.done.is_set():
            with self._tracer.span("prime"):
                await self._wait(prime, deadline)

    def forget(self, server: Server) -> None:
        """The server went away, and its cache with it."""
        self._primes.pop(server.name, None)

    def _prime(self, server: Server, affinity: str) -> _Prime | None:
        primes = self._primes.get(server.name)
        prime = primes.get(affinity) if primes else None
        return prime if prime is not None and time.monotonic() < prime.until else None

    async def _wait(self, prime: _Prime, deadline: float | None) -> None:
        """Wait for the end of a prime, which comes within `wait_s` without a clock of our own."""
        if deadline is None or deadline - time.monotonic() > self._wait_s:
            await prime.done.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()):
                await prime.done.wait()

    async def _send(
        self, server: Server, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> None:
        prime = self._begin(server, request.affinity)
        try:
            async with asyncio.timeout(self._wait_s):
                await server.attempt(prime_of(request), meter=meter, deadline=deadline)
        except TimeoutError:
            self._metrics.prime("late")
        except (Displaced, asyncio.CancelledError):
            prime.until = 0.0  # nothing came of it, so that the next call of the group may try
            raise
        except JudgeError:
            self._metrics.prime("failed")
        else:
            self._metrics.prime("primed")
        finally:
            prime.done.set()

    def _begin(self, server: Server, affinity: str) -> _Prime:
        primes = self._primes.setdefault(server.name, OrderedDict())
        prime = primes[affinity] = _Prime(time.monotonic() + self._ttl_s)
        primes.move_to_end(affinity)
        if len(primes) > _GROUPS_KEPT:
            primes.popitem(last=False)
        return prime


def prime_of(request: ChatRequest) -> ChatRequest:
    """The shared part of a request, with room for one token and no grammar to compile."""
    *before, last = request.messages
    shared = dataclasses.replace(last, content=last.content[: request.shared])
    return dataclasses.replace(
        request,
        messages=(*before, shared),
        constraint=None,
        max_tokens=1,
        temperature=0.0,
        top_logprobs=0,
        open_ended=True,
    )
