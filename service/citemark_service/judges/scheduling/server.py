"""One server of a pool: its client, what it carries, and whether it is fit for calls."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from citemark_service.errors import JudgeError, JudgeTimeout, SettingsError
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.health import Health, HealthPolicy
from citemark_service.judges.scheduling.slots import Displaced, Slots
from citemark_service.telemetry.metrics import Metrics

_log = logging.getLogger("citemark.judge")


def server_names(urls: Sequence[str]) -> list[str]:
    """A short name for each URL: its host and port, or all of it where two share those.

    Raises:
        SettingsError: a URL is there twice, which would double the load on its server.
    """
    if len(set(urls)) < len(urls):
        raise SettingsError("judge_urls must name each server once")
    places = [url.partition("://")[2].partition("/")[0] for url in urls]
    pairs = zip(urls, places, strict=True)
    return [place if places.count(place) == 1 else url for url, place in pairs]


class ServerChat(Protocol):
    """A client of one server that makes single attempts; `WireChat` is one."""

    @property
    def slots(self) -> Slots:
        """What bounds and orders the calls."""
        ...

    async def attempt(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """One HTTP call. Raises as `Chat.complete`, and `Displaced`."""
        ...

    async def check(self) -> None:
        """As `Chat.check`."""
        ...

    async def aclose(self) -> None:
        """As `Chat.aclose`."""
        ...


class Server:
    """A client under a name, with its health. What is observed here has the name as a label."""

    def __init__(
        self, name: str, chat: ServerChat, *, policy: HealthPolicy, metrics: Metrics
    ) -> None:
        self.name = name
        self.slots = chat.slots
        self._chat = chat
        self._policy = policy
        self._metrics = metrics
        self.health = Health(policy, self._changed)
        self._listeners: list[Callable[[], None]] = []
        self._sent: set[asyncio.Timeout] = set()
        self._failure: JudgeError | None = None
        self._silent = False

    @property
    def up(self) -> bool:
        """Whether calls are sent here."""
        return self.health.up

    @property
    def limit(self) -> int:
        """How many slots there are."""
        return self.slots.limit

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot."""
        return self.slots.in_flight

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return self.slots.waiting

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the server goes up or down."""
        self._listeners.append(listener)

    async def attempt(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """As `ServerChat.attempt`; the outcome counts for the server's health."""
        try:
            reply = await self._leashed(request, meter, deadline)
        except Displaced:
            raise
        except JudgeError as error:
            self._metrics.server_call(self.name, error.kind)
            self._failure = error
            self.health.failed(error)
            raise
        self._metrics.server_call(self.name, None)
        self.health.answered()
        return reply

    async def look(self) -> JudgeError | None:
        """Ask whether it serves the model; why not, or None.

        A server that answered a call in the meantime is busy and not ill.
        """
        answers = self.health.answers
        failure = await self._checked()
        if failure is None or self.health.answers == answers:
            self._seen(failure)
        return failure

    def displace(self) -> None:
        """Give back what waits here; where a look failed too, what was sent here as well.

        A machine that is gone without a word resets no connection, and each call to it would
        otherwise last until its own limit. Calls that merely failed displace nothing that was
        sent: a server that cannot answer one rollout may be answering the others.
        """
        self.slots.displace()
        if self._silent:
            sent, self._sent = self._sent, set()
            now = asyncio.get_running_loop().time()
            for leash in sent:
                leash.reschedule(now)

    async def watch(self) -> None:
        """Look again and again, until cancelled; more rarely the longer it stays away."""
        while True:
            await self.look()
            await self._due()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._chat.aclose()

    async def _leashed(
        self, request: ChatRequest, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """One attempt that `displace` can end; nothing else sets a time to this timeout."""
        try:
            async with asyncio.timeout(None) as leash:
                self._sent.add(leash)
                try:
                    return await self._chat.attempt(request, meter=meter, deadline=deadline)
                finally:
                    self._sent.discard(leash)
        except TimeoutError as error:
            raise Displaced(f"{self.name} does not answer any more") from error

    def _seen(self, failure: JudgeError | None) -> None:
        """Take note of a look, and tell the listeners also of a silence that ended nothing new."""
        self._silent = failure is not None
        self._failure = failure or self._failure
        self.health.looked(failure)
        if failure is not None:
            self._tell()

    async def _due(self) -> None:
        """Wait until a pause has passed in which nothing was heard of the server."""
        quiet = False
        while not quiet:
            answers = self.health.answers
            quiet = await self.health.pause() and self.health.answers == answers

    async def _checked(self) -> JudgeError | None:
        try:
            async with asyncio.timeout(self._policy.check_s):
                await self._chat.check()
        except TimeoutError:
            return JudgeTimeout(f"no answer within {self._policy.check_s:g} s")
        except JudgeError as error:
            return error
        return None

    def _changed(self) -> None:
        if self.up:
            self._silent = False
            _log.info("judge server %s answers again", self.name)
        else:
            self._metrics.server_ejected(self.name)
            _log.warning("judge server %s gets no more calls: %s", self.name, self._failure)
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
