"""Routing and retrying calls over the servers of a judge.

A group goes to the server that has its prefix in the cache. A new group is placed by rendezvous
hashing of its affinity and the servers' names (Thaler and Ravishankar, 1998): replicas of the
service agree, and the loss of a server moves only its own groups. A group moves for good to the
least loaded server where its own has more than a quarter of its slots beyond that one's load:
computing the prefix again costs less than waiting for a quarter of the calls in flight.
"""

import asyncio
import dataclasses
import logging
import random
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import nullcontext, suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from operator import itemgetter
from typing import Final

from cachetools import LRUCache, TTLCache
from opentelemetry.trace import Tracer

from citemark_service.errors import (
    JudgeError,
    JudgeOverloaded,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
)
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.server.queue import Displaced
from citemark_service.judges.server.server import Server, ServerLimits, Transport, name_servers
from citemark_service.judges.tasks import Meter
from citemark_service.telemetry.logs import log_context, log_fields
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.traces import open_span

# Errors after which the same request may succeed.
TRANSPORT_ERRORS: Final = (JudgeUnreachable, JudgeTimeout, JudgeOverloaded, JudgeServerError)

_SPILL_SHARE: Final = 0.25  # of a server's slots
_GROUPS_KEPT: Final = 4096  # bounds memory; the least recent group is forgotten first
_PRIME_TTL_S: Final = 300.0
_log = logging.getLogger("citemark.judge")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `attempts` tries, the first included, with exponential back-off and full jitter.

    The wait before try n + 1 is uniform in [0, first_wait_s · 2^(n-1)], at most `max_wait_s`
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), plus the seconds
    of Retry-After. The pool retries `TRANSPORT_ERRORS` only; the language judge retries invalid
    replies, under another constraint.
    """

    attempts: int = 4
    first_wait_s: float = 0.5
    max_wait_s: float = 30.0

    def plan_retry(self, error: JudgeError, attempt: int, deadline: float | None) -> float:
        """Seconds to wait after `attempt` (from 1) failed with `error`.

        Raises `error` after the last attempt, where Retry-After exceeds `max_wait_s`, and where
        the wait would pass the deadline.
        """
        asked_s = (isinstance(error, JudgeOverloaded) and error.retry_after_s) or 0.0
        # The jitter comes on top of Retry-After, so that callers who were given the same second
        # do not return together.
        backoff_s = min(self.max_wait_s, self.first_wait_s * 2.0 ** min(attempt - 1, 64))
        wait_s = asked_s + random.uniform(0.0, backoff_s)  # noqa: S311 - a spread, not a secret
        too_late = deadline is not None and time.monotonic() + wait_s >= deadline
        if attempt >= self.attempts or asked_s > self.max_wait_s or too_late:
            raise error
        kind, following = error.kind.value, attempt + 1
        fields = log_fields(kind=kind, wait_s=round(wait_s, 3), attempt=following)
        _log.info("%s: attempt %d follows in %.2f s", kind, following, wait_s, extra=fields)
        return wait_s


class JudgePool:
    """One or more servers of the same model. Safe to call concurrently.

    An ejected server gets no calls while another is up. Calls that wait for it, or were sent to
    a server that is silent, are sent to another; that does not count as an attempt. With more
    than one server each is polled in the background from the first call on.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        *,
        limits: ServerLimits,
        retry: RetryPolicy,
        metrics: Metrics,
        tracer: Tracer,
        prime_wait_s: float | None = None,
    ) -> None:
        """Take over `transports`, which the pool closes. `limits` applies to each server.

        `prime_wait_s` is how long a group waits for its prime; None sends no primes.
        """
        names = name_servers([each.endpoint.base_url for each in transports])
        self._servers = tuple(
            Server(name, each, limits, metrics, tracer)
            for name, each in zip(names, transports, strict=True)
        )
        self._retry = retry
        self._metrics = metrics
        self._priming = Priming(prime_wait_s, metrics, tracer)
        self._homes = LRUCache[str, Server](_GROUPS_KEPT)  # by affinity
        self._watchers: list[asyncio.Task[None]] | None = None
        for server in self._servers:
            server.on_change = partial(self._redirect, server)

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and its reply that every server takes, as far as known."""
        known = (server.context for server in self._servers)
        return min(filter(None, known), default=None)

    async def complete(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """Return a reply with HTTP status 200, or raise the `JudgeError` of the last attempt.

        Transport errors are retried until the attempts or the deadline (`time.monotonic()`) are
        used up. The usage of every attempt is added to `meter`.
        """
        if self._watchers is None:
            watched = self._servers if len(self._servers) > 1 else ()
            # In an empty context, or they would log under the first caller's rollout.
            self._watchers = [
                asyncio.create_task(server.watch(), context=Context()) for server in watched
            ]
        tried: set[Server] = set()
        attempt = 1
        while True:
            server = self._pick(request.affinity, tried)
            try:
                with log_context(attempt=attempt) if attempt > 1 else nullcontext():
                    await self._priming.prime(server, request, meter, deadline)
                    return await server.attempt(request, meter, deadline)
            except Displaced:
                continue  # no attempt; each follows an ejection, so the loop ends
            except TRANSPORT_ERRORS as error:
                tried.add(server)
                failure: JudgeError = error
                others = (other for other in self._servers if other not in tried)
                if isinstance(error, JudgeOverloaded) and any(other.up for other in others):
                    failure = JudgeOverloaded(str(error))  # without its Retry-After
                wait_s = self._retry.plan_retry(failure, attempt, deadline)
            self._metrics.count_retry(failure.kind)
            attempt += 1
            await asyncio.sleep(wait_s)

    async def check(self) -> None:
        """Raise `JudgeError`, with the reason for each server, if none serves the model."""
        failures = await asyncio.gather(*(server.look() for server in self._servers))
        if None in failures:
            return
        if len(failures) == 1 and failures[0] is not None:
            raise failures[0]
        reasons = zip(self._servers, failures, strict=True)
        raise JudgeUnreachable("; ".join(f"{server.name}: {why}" for server, why in reasons))

    async def aclose(self) -> None:
        watchers, self._watchers = self._watchers or [], []
        for watcher in watchers:
            watcher.cancel()
        if watchers:
            await asyncio.wait(watchers)
        for server in self._servers:
            await server.transport.aclose()

    def _pick(self, affinity: str, tried: Collection[Server]) -> Server:
        """The server for a call of the group `affinity` ("" for none): up and untried if any is."""
        # Where all are down, the call is sent all the same: the servers may be back already.
        fit: Sequence[Server] = [server for server in self._servers if server.up] or self._servers
        if tried:
            fit = [server for server in fit if server not in tried] or fit
        if len(fit) == 1:
            return fit[0]
        least = min(fit, key=lambda server: server.slots.load)
        if not affinity:
            return least
        home = self._homes.get(affinity)
        if home is None or home not in fit:
            hashes = (blake2b(f"{s.name} {affinity}".encode(), digest_size=8).digest() for s in fit)
            _, home = max(zip(hashes, fit, strict=True), key=itemgetter(0))
        if home.slots.load > least.slots.load + home.slots.limit * _SPILL_SHARE:
            home = least
        if not tried:  # one call that failed does not move its group
            self._homes[affinity] = home
        return home

    def _redirect(self, server: Server) -> None:
        """Displace what waits for servers that are down, if one is up; `server` has changed."""
        if not server.up:
            self._priming.forget(server)
        if any(other.up for other in self._servers):
            for other in self._servers:
                if not other.up:
                    other.displace()


class Priming:
    """Sends the shared part of a group's prompts to a server before the first of them.

    With recurrent layers (see docs/judge.md) a prefix cache has an entry only at the end of a
    prompt, which the next sample's prompt does not reach: the answer differs. A call that ends
    with the shared part puts an entry there. After `wait_s` seconds, or when the prime failed,
    the call goes ahead. With `wait_s` None nothing is primed.
    """

    def __init__(self, wait_s: float | None, metrics: Metrics, tracer: Tracer) -> None:
        self._wait_s = wait_s
        self._metrics = metrics
        self._tracer = tracer
        # By server and affinity; set when the prime has ended.
        self._primes = defaultdict[str, TTLCache[str, asyncio.Event]](
            lambda: TTLCache(_GROUPS_KEPT, _PRIME_TTL_S)
        )

    def forget(self, server: Server) -> None:
        """Prime anew on `server`, whose cache may be lost."""
        self._primes.pop(server.name, None)

    async def prime(
        self, server: Server, request: ChatRequest, meter: Meter, deadline: float | None
    ) -> None:
        """Prime the group of `request`, on the meter of its first call; the others wait for that.

        Raises `Displaced` as `Server.attempt`; any other failure of a prime is counted only.
        """
        if self._wait_s is None or not request.affinity or not request.shared:
            return
        primes = self._primes[server.name]
        ended = primes.get(request.affinity)
        if ended is not None and ended.is_set():
            return
        if ended is not None:
            left_s = None if deadline is None else deadline - time.monotonic()
            with open_span(self._tracer, "prime"), suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await ended.wait()  # no longer than its sender's `wait_s`
            return
        ended = primes[request.affinity] = asyncio.Event()
        with open_span(self._tracer, "prime"):
            outcome = "failed"
            try:
                async with asyncio.timeout(self._wait_s):
                    await server.attempt(to_prime(request), meter, deadline)
                outcome = "primed"
            except TimeoutError:
                outcome = "late"
            except (Displaced, asyncio.CancelledError):
                primes.pop(request.affinity, None)  # so that the next call sends another
                raise
            except JudgeError:
                pass
            finally:
                ended.set()
            self._metrics.primes[outcome].inc()


def to_prime(request: ChatRequest) -> ChatRequest:
    """The shared part of a request, for one token and without a grammar to compile."""
    *before, last = request.messages
    shared = dataclasses.replace(last, content=last.content[: request.shared])
    return dataclasses.replace(
        request,
        messages=(*before, shared),
        constraint=None,
        questions=(),
        max_tokens=1,
        temperature=0.0,
        top_logprobs=0,
        # The closing tokens of a chat template would put the cached state past the shared part.
        open_ended=True,
    )
