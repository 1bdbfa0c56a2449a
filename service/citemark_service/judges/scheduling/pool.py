"""Several servers as one `Chat`: the owner of retries, so that a retry goes to another server."""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

from citemark_service.errors import JudgeError, JudgeOverloaded, JudgeUnreachable
from citemark_service.judges.chat import Chat, ChatReply, ChatRequest
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.priming import Priming
from citemark_service.judges.scheduling.routing import Router
from citemark_service.judges.scheduling.server import Server
from citemark_service.judges.scheduling.slots import Displaced
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.telemetry.metrics import Metrics


@dataclass(slots=True)
class _Call:
    """One call and where it has failed so far."""

    request: ChatRequest
    meter: Meter
    deadline: float | None
    tried: set[Server] = field(default_factory=set)


class PoolChat(Chat):
    """A `Chat` over `servers`, at least one, all of which serve the same model.

    An attempt is a server and one HTTP call. An ejected server gets no calls while another is
    up, and those that wait for it, or were sent to a server that is silent, go elsewhere, which
    is not counted as an attempt. With more
    than one server each is looked at in the background from the first call on.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        retry: RetryPolicy,
        metrics: Metrics,
        priming: Priming | None = None,
    ) -> None:
        self._servers = tuple(servers)
        self._router = Router(self._servers)
        self._retry = retry
        self._metrics = metrics
        self._priming = priming
        self._watchers: list[asyncio.Task[None]] | None = None
        for server in self._servers:
            server.on_change(partial(self._changed, server))
            metrics.judge_server(server)

    async def complete(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """See `Chat.complete`."""
        self._watch()
        attempt = partial(self._attempt, _Call(request, meter, deadline))
        return await self._retry.run(attempt, deadline=deadline, on_retry=self._metrics.judge_retry)

    async def check(self) -> None:
        """Return when at least one server answers and serves the model.

        Raises:
            JudgeUnreachable: none does; the message tells of each.
            JudgeError: the one server of this pool does not.
        """
        failures = await asyncio.gather(*(server.look() for server in self._servers))
        if None in failures:
            return
        if len(failures) == 1 and failures[0] is not None:
            raise failures[0]
        reasons = zip(self._servers, failures, strict=True)
        raise JudgeUnreachable("; ".join(f"{server.name}: {why}" for server, why in reasons))

    async def aclose(self) -> None:
        """Stop looking after the servers and close the connections."""
        watchers, self._watchers = self._watchers or [], []
        for watcher in watchers:
            watcher.cancel()
        if watchers:
            await asyncio.wait(watchers)
        for server in self._servers:
            await server.aclose()

    async def _attempt(self, call: _Call) -> ChatReply:
        while True:
            server = self._router.pick(call.request.affinity, call.tried)
            try:
                return await self._ask(server, call)
            except Displaced:
                continue  # only after an ejection, so that this ends
            except JudgeError as error:
                call.tried.add(server)
                if isinstance(error, JudgeOverloaded) and self._router.others(call.tried):
                    raise JudgeOverloaded(str(error)) from error  # another need not wait so long
                raise

    async def _ask(self, server: Server, call: _Call) -> ChatReply:
        if self._priming is not None:
            await self._priming.before(
                server, call.request, meter=call.meter, deadline=call.deadline
            )
        return await server.attempt(call.request, meter=call.meter, deadline=call.deadline)

    def _changed(self, server: Server) -> None:
        """A server was ejected or is back: nobody waits for one that is down if one is up."""
        if self._priming is not None and not server.up:
            self._priming.forget(server)
        if any(other.up for other in self._servers):
            for other in self._servers:
                if not other.up:
                    other.displace()

    def _watch(self) -> None:
        if self._watchers is None:
            watched = self._servers if len(self._servers) > 1 else ()
            # In a context of their own: they are not of the rollout that happens to come first.
            self._watchers = [
                asyncio.create_task(server.watch(), context=Context()) for server in watched
            ]
