"""One server of a judge: how it is addressed, what it carries, and whether it is fit for calls."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Tracer

from citemark_schemas import FailureKind
from citemark_service.errors import (
    DeadlineExceeded,
    JudgeError,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
    SettingsError,
)
from citemark_service.judges.chat import ChatReply, ChatRequest
from citemark_service.judges.server.queue import Displaced, Slots
from citemark_service.judges.server.reply import decode_completion, verify_served
from citemark_service.judges.tasks import Meter, Usage
from citemark_service.telemetry.logs import Outage, get_log_context, log_fields
from citemark_service.telemetry.metrics import CallOutcome, Metrics
from citemark_service.telemetry.traces import open_span, set_attributes

_DISTRESS: Final = (JudgeUnreachable, JudgeTimeout, JudgeServerError)
"""Errors that speak against the server, not against the call, its deadline or the load."""
_EJECTING_FAILURES: Final = 3  # in a row
_LOOK_TIMEOUT_S: Final = 4.0  # less than `/readyz` waits for the looks at all servers
_UNBILLED: Final = Usage()
_log = logging.getLogger("citemark.judge")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible API, usually with a path that ends in `/v1`.

    Raises:
        SettingsError: every call would fail with it, or an error message could show a secret.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise SettingsError(f"judge_url: {error}") from error
        if parts.username is not None:
            raise SettingsError("judge_url must not hold credentials; set judge_api_key")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise SettingsError(f"judge_url must be a plain http(s) URL, not {self.base_url!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise SettingsError("judge_api_key must be one line of printable ASCII")


class Transport(Protocol):
    """How requests reach an endpoint: `HttpTransport` or `HostedTransport`."""

    endpoint: Endpoint

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        """Post once; the body of a reply with status 200. Raises `JudgeError`."""

    def list_models(self) -> Coroutine[Any, Any, bytes]:
        """As `send`, of the list of models."""

    async def aclose(self) -> None:
        """Close the connections; calls from now on raise `JudgeStopped`."""


def name_servers(urls: Sequence[str]) -> list[str]:
    """A short name for each URL: its host and port, or all of it where two share those.

    Raises:
        SettingsError: a URL is there twice, which would double the load on its server.
    """
    if len(set(urls)) < len(urls):
        raise SettingsError("judge_urls must name each server once")
    places = [url.partition("://")[2].partition("/")[0] for url in urls]
    pairs = zip(places, urls, strict=True)
    return [place if places.count(place) == 1 else url for place, url in pairs]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server is asked at once and for how long, and when it is looked at."""

    concurrency: int
    timeout_s: float
    """For one call, from connecting to the last byte of a reply that may drip."""
    queue: int = 32_768
    """Calls that wait for a slot."""
    look_every_s: float = 3.0
    """Between looks at a server that is up; none is needed where calls were answered since."""
    first_look_s: float = 0.5
    """Before the first look at an ejected server; doubled with each until a call is answered."""
    max_look_s: float = 30.0


class Server:
    """A transport under a name, with its slots and its health.

    Callers wait for a slot here and never in a connection pool. A slot is held for one HTTP
    call, not for the pause before a retry. The server is up until calls fail in a row or a look
    fails, and up again after a look or a call succeeds.

    `name` is the label of its metrics and log lines.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        limits: ServerLimits,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self.name = name
        self.transport = transport
        self.slots = Slots(limits.concurrency, limits.queue)
        self.on_change: Callable[[], None] = lambda: None
        """Called when the server went up or down, or stays silent."""
        self._limits = limits
        self._metrics = metrics
        self._tracer = tracer
        self._sent: set[asyncio.Timeout] = set()
        self._answers = 0
        self._failures = 0
        self._looks = 0
        self._silent = False
        self._turned = asyncio.Event()
        self._outage = Outage(_log)
        outcomes: tuple[CallOutcome, ...] = ("ok", *FailureKind)
        self._calls = {each: metrics.server_calls.labels(name, each) for each in outcomes}
        metrics.add_server(
            name,
            up=lambda: self.up,
            limit=lambda: self.slots.limit,
            in_flight=lambda: self.slots.in_flight,
            waiting=lambda: self.slots.waiting,
        )

    @property
    def up(self) -> bool:
        """Whether calls are sent here."""
        return not self._outage.active

    async def attempt(
        self, request: ChatRequest, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """One HTTP call, when it is this one's turn; its outcome counts for the server's health.

        Raises:
            Displaced: the server was given up first; this is no failure of the call.
            JudgeError: any other; `DeadlineExceeded` also while it waits for its turn.
        """
        arrived = time.monotonic()
        try:
            with open_span(self._tracer, "queue"):
                await self.slots.acquire(request, deadline)
        except JudgeError as error:
            if not isinstance(error, Displaced):
                self._calls[error.kind].inc()
            raise
        finally:  # who waited in vain waited too
            started = time.monotonic()
            self._metrics.stages["queue"].observe(started - arrived)
        outcome: ChatReply | JudgeError
        usage, timeout_s = _UNBILLED, self._limits.timeout_s
        left_s = float("inf") if deadline is None else deadline - started
        leash = asyncio.timeout(min(left_s, timeout_s))
        self._sent.add(leash)
        with open_span(self._tracer, "judge call", SpanKind.CLIENT) as span:
            try:
                async with leash:
                    body = await self.transport.send(request)
                completion = decode_completion(body)
                usage = completion.cost()  # paid for, whatever the content is worth
                outcome = completion.reply(usage)
            except TimeoutError:
                if leash not in self._sent:
                    outcome = Displaced(f"{self.name} does not answer any more")
                elif left_s <= timeout_s:
                    outcome = DeadlineExceeded("the deadline passed during a judge call")
                else:
                    outcome = JudgeTimeout(f"the judge did not answer within {timeout_s:g} s")
            except JudgeError as error:
                outcome = error
            finally:
                self._sent.discard(leash)
                self.slots.release()
            if not isinstance(outcome, Displaced):
                self._record(outcome, time.monotonic() - started, usage, meter, span)
            if isinstance(outcome, JudgeError):
                raise outcome
            return outcome

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

    async def look(self) -> JudgeError | None:
        """Ask whether it serves the model; why not, or None.

        A look brings an ejected server back on probation, where one call that fails ejects it
        again: a server whose engine has died may still list its model. One that answered a call
        in the meantime is busy and not ill.
        """
        answers, limit_s = self._answers, min(_LOOK_TIMEOUT_S, self._limits.timeout_s)
        failure: JudgeError | None = None
        try:
            async with asyncio.timeout(limit_s):
                listing = await self.transport.list_models()
            verify_served(listing, self.transport.endpoint.model)
        except TimeoutError:
            failure = JudgeTimeout(f"the judge did not answer within {limit_s:g} s")
        except JudgeError as error:
            failure = error
        if failure is not None and self._answers != answers:
            return failure
        self._silent = failure is not None
        if failure is None and self.up:
            return None
        self._looks += 1  # the next look has to wait longer, until a call is answered
        if failure is None:
            self._failures = _EJECTING_FAILURES - 1
            self.turn(None)
        elif self.up:
            self.turn(failure)
        else:
            self.on_change()
        return failure

    async def watch(self) -> None:
        """Look again and again, until cancelled; more rarely the longer it stays away.

        A look is due when for a whole pause the server answered no call and did not turn.
        """
        while True:
            await self.look()
            heard = True
            while heard:
                answers = self._answers
                self._turned.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._turned.wait(), self._pause_s())
                heard = self._turned.is_set() or self._answers != answers

    def turn(self, failure: JudgeError | None) -> None:
        """Give the server up because of `failure`; with None, send calls to it again."""
        if failure is None:
            self._silent = False
            self._outage.end("judge server %s answers again", self.name)
        else:
            self._metrics.server_ejections.labels(self.name).inc()
            self._outage.begin("judge server %s gets no more calls: %s", self.name, failure)
        self._turned.set()
        self.on_change()

    def _record(
        self,
        outcome: ChatReply | JudgeError,
        seconds: float,
        usage: Usage,
        meter: Meter,
        span: Span,
    ) -> None:
        """Account one call that was sent, in the meter, metrics, span, log and health."""
        error = outcome if isinstance(outcome, JudgeError) else None
        label: CallOutcome = "ok" if error is None else error.kind
        meter.add(usage)
        prompt, cached = usage.prompt_tokens, usage.cached_tokens
        completion = usage.completion_tokens
        self._metrics.count_call(
            label, seconds, prompt=prompt, cached=cached, completion=completion
        )
        self._calls[label].inc()
        if span.is_recording():  # under OpenTelemetry's names where it has any
            whose = {f"citemark.{name}": fact for name, fact in get_log_context().items()}
            set_attributes(
                span,
                {
                    "citemark.attempt": 1,
                    "citemark.ask": 1,
                    **whose,
                    "citemark.server": self.name,
                    "gen_ai.operation.name": "chat",
                    "gen_ai.request.model": self.transport.endpoint.model,
                    "gen_ai.usage.input_tokens": prompt,
                    "gen_ai.usage.output_tokens": completion,
                    "gen_ai.usage.cache_read.input_tokens": cached,
                    "citemark.outcome": str(label),
                },
            )
        if error is None:
            self._answers += 1
            self._failures = self._looks = 0
            if not self.up:
                self.turn(None)
            return
        fields = log_fields(server=self.name, kind=error.kind.value, seconds=round(seconds, 3))
        text = "call to %s failed after %.2f s: %s: %s"
        _log.info(text, self.name, seconds, error.kind.value, error, extra=fields)
        if isinstance(error, _DISTRESS):
            self._failures += 1
            if self.up and self._failures >= _EJECTING_FAILURES:
                self.turn(error)

    def _pause_s(self) -> float:
        """Until the next look, while nothing is heard."""
        if self.up:
            return self._limits.look_every_s
        doublings = min(max(0, self._looks - 1), 16)
        wait_s = min(self._limits.max_look_s, self._limits.first_look_s * 2.0**doublings)
        # Spread, so that many services do not fall upon a server that has just come back.
        return wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - a spread, not a secret
