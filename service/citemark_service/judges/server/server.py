"""One server of a judge: its endpoint, limits, slots and health."""

import asyncio
import logging
import math
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
    JudgeRejected,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
    PromptTooLong,
    SettingsError,
)
from citemark_service.judges.chat import ChatReply, ChatRequest, Message
from citemark_service.judges.server.dialect import Dialect
from citemark_service.judges.server.queue import Displaced, Slots
from citemark_service.judges.server.reply import (
    Completion,
    decode_completion,
    read_context,
    read_token_count,
)
from citemark_service.judges.tasks import Meter, Usage
from citemark_service.telemetry.logs import Outage, get_log_context, log_fields
from citemark_service.telemetry.metrics import CallOutcome, Metrics
from citemark_service.telemetry.traces import open_span, set_attributes

# Errors that count against the server's health; others are due to the call, deadline or load.
_DISTRESS: Final = (JudgeUnreachable, JudgeTimeout, JudgeServerError)
_EJECTING_FAILURES: Final = 3  # in a row
_LOOK_TIMEOUT_S: Final = 4.0  # less than `/readyz` waits for all servers
_UNBILLED: Final = Usage()
_LEAST_CONTEXT: Final = 2048  # tokens; no judge has less, so a smaller one is another limit
_TRUST_S: Final = 60.0  # after an answer, how long a model counts as served that is not listed
_SHORT_CALL: Final = ChatRequest((Message("user", "Say one word."),), None, 16)
_log = logging.getLogger("citemark.judge")

Outcome = ChatReply | JudgeError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base URL of an OpenAI-compatible API, which usually ends in `/v1`.

    Raises `SettingsError` for a URL or key that cannot work, and for credentials in the URL,
    which error messages would show.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    omits: frozenset[str] = frozenset()
    """Of `settings.OptionalField`: what is never sent there."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            host, _port = parts.hostname, parts.port  # `port` raises where it is no number
        except ValueError as error:
            raise SettingsError(f"judge_url: {error}") from error
        if parts.username is not None:
            raise SettingsError("judge_url must not hold credentials; set judge_api_key")
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise SettingsError(f"judge_url must be a plain http(s) URL, not {self.base_url!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise SettingsError("judge_api_key must be one line of printable ASCII")


class Transport(Protocol):
    """Sends requests to an endpoint, without retries or time limits."""

    endpoint: Endpoint

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        """Post and return the body of a reply with status 200. Raises `JudgeError` otherwise."""

    def list_models(self) -> Coroutine[Any, Any, bytes]:
        """As `send`, for the list of models."""

    def count_tokens(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        """As `send`, for the number of the prompt's tokens."""

    async def aclose(self) -> None:
        """Close the connections; later calls raise `JudgeStopped`."""


def name_servers(urls: Sequence[str]) -> list[str]:
    """A short name for each URL: host and port, or the whole URL where two share those.

    Raises `SettingsError` for a repeated URL, which would double the load on its server.
    """
    if len(set(urls)) < len(urls):
        raise SettingsError("judge_urls must name each server once")
    places = [url.partition("://")[2].partition("/")[0] for url in urls]
    pairs = zip(places, urls, strict=True)
    return [place if places.count(place) == 1 else url for place, url in pairs]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits on the calls to one server, and the intervals of its health checks ("looks")."""

    concurrency: int
    timeout_s: float  # of one call, from connecting to the last byte of the reply
    queue: int = 32_768  # calls that wait for a slot
    look_every_s: float = 3.0  # while the server is up; skipped where calls were answered
    first_look_s: float = 0.5  # after an ejection; doubles until a call is answered
    max_look_s: float = 30.0


class Server:
    """A transport with its slots and its health; `name` is its label in metrics and logs.

    Calls wait for a slot here, never in a connection pool, and hold it during the HTTP call
    only. The server is ejected after three failed calls in a row or a failed look, and is up
    again after a look or a call succeeds.
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
        # Called when the server went up or down, or stays silent.
        self.on_change: Callable[[], None] = lambda: None
        self.context: int | None = None  # tokens of prompt and reply, once that is known
        self._limits = limits
        self._metrics = metrics
        self._tracer = tracer
        self._sent: set[asyncio.Timeout] = set()  # time limits of the calls in flight
        self._answers = 0  # since the start
        self._failures = 0  # in a row
        self._looks = 0  # since a call was answered
        self._silent = False
        self._answered_at = -math.inf
        self._dialect = Dialect(transport.endpoint.omits)
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
        return not self._outage.active

    async def attempt(
        self, request: ChatRequest, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """Wait for a slot and make one HTTP call, whose outcome counts for the server's health.

        Raises:
            Displaced: the server was ejected first; not a failure of the call.
            JudgeError: any other failure; `DeadlineExceeded` while waiting for the slot, too.
        """
        arrived = time.monotonic()
        try:
            with open_span(self._tracer, "queue"):
                await self.slots.acquire(request, deadline)
        except JudgeError as error:
            if not isinstance(error, Displaced):
                self._calls[error.kind].inc()
            raise
        finally:  # also for a call that got no slot
            started = time.monotonic()
            self._metrics.stages["queue"].observe(started - arrived)
        outcome: Outcome
        usage, timeout_s = _UNBILLED, self._limits.timeout_s
        left_s = float("inf") if deadline is None else deadline - started
        leash = asyncio.timeout(min(left_s, timeout_s))
        self._sent.add(leash)
        with open_span(self._tracer, "judge call", SpanKind.CLIENT) as span:
            try:
                async with leash:
                    completion = await self._complete(request)
                usage = completion.cost()  # counts even where the next line raises
                outcome = completion.reply(usage)
            except TimeoutError:
                if leash not in self._sent:  # `displace` let it expire
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
        """Fail the calls that wait here with `Displaced`, and after a failed look those in flight.

        A server that fails some calls may still answer others, so failed calls alone displace
        nothing in flight.
        """
        self.slots.displace()
        if self._silent:
            # A machine that vanishes resets no connection: each call would last until its limit.
            sent, self._sent = self._sent, set()
            now = asyncio.get_running_loop().time()
            for leash in sent:
                leash.reschedule(now)

    async def look(self) -> JudgeError | None:
        """Check that the server lists the model; return the failure, or None."""
        answers, limit_s = self._answers, min(_LOOK_TIMEOUT_S, self._limits.timeout_s)
        failure: JudgeError | None = None
        try:
            async with asyncio.timeout(limit_s):
                await self._verify_model()
        except TimeoutError:
            failure = JudgeTimeout(f"the judge did not answer within {limit_s:g} s")
        except JudgeError as error:
            failure = error
        # A server that answered a call in the meantime is busy, not down.
        if failure is not None and self._answers != answers:
            return failure
        self._silent = failure is not None
        if failure is None and self.up:
            return None
        self._looks += 1  # the next look has to wait longer, until a call is answered
        if failure is None:
            # On probation, where one failed call ejects it again: a server whose engine has died
            # may still list its model.
            self._failures = _EJECTING_FAILURES - 1
            self.turn(None)
        elif self.up:
            self.turn(failure)
        else:
            self.on_change()
        return failure

    async def _verify_model(self) -> None:
        """Raise `JudgeError` where the server neither lists the model nor answers a call to it.

        It need not list an alias; and some have no list at all.
        """
        try:
            listing = await self.transport.list_models()
            self.context = read_context(listing, self.transport.endpoint.model) or self.context
        except JudgeRejected as unlisted:
            if self.up and time.monotonic() - self._answered_at < _TRUST_S:
                return
            try:
                async with asyncio.timeout(_LOOK_TIMEOUT_S / 2):
                    await self._complete(_SHORT_CALL)
            except TimeoutError:
                raise unlisted from None
            except JudgeError as refusal:
                both = f"{unlisted}; a call all the same: {refusal}"
                status = refusal.status if isinstance(refusal, JudgeRejected) else None
                raise JudgeRejected(both, status=status or unlisted.status) from refusal
            self._answered_at = time.monotonic()
            _log.info("%s answers calls all the same: %s", self.name, unlisted)

    async def _complete(self, request: ChatRequest) -> Completion:
        """Send the request, and again without the optional fields that the server refuses.

        What a refusal teaches is kept where the server then takes the call: it may only quote a
        rollout that speaks of such fields.
        """
        known = dialect = self._dialect
        refusal = None
        while True:
            sent = dialect.fit(request)
            try:
                completion = decode_completion(await self.transport.send(sent), sent.messages)
            except PromptTooLong as too_long:
                raise await self._measure(too_long, sent) from too_long
            except JudgeRejected as rejected:
                learnt = dialect.learn(rejected, sent)
                if learnt is None:
                    raise
                dialect, refusal = learnt, rejected
                continue
            if dialect is not known and self._dialect is known:  # no other call has learnt
                self._dialect = dialect
                _log.warning("%s is sent no %s any more: %s", self.name, dialect, refusal)
            return completion

    async def _measure(self, refusal: PromptTooLong, sent: ChatRequest) -> PromptTooLong:
        """The refusal with the prompt's tokens; it keeps the context."""
        if refusal.asked is None:
            with suppress(JudgeError):
                if counted := read_token_count(await self.transport.count_tokens(sent)):
                    words, status = str(refusal), refusal.status
                    asked, context = counted
                    refusal = PromptTooLong(words, status=status, asked=asked, context=context)
        if refusal.context is not None and refusal.context >= _LEAST_CONTEXT:
            self.context = refusal.context
        return refusal

    async def watch(self) -> None:
        """Look until cancelled, each time after a pause without an answered call or a `turn`."""
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
        """Eject the server because of `failure`; None sends calls to it again."""
        if failure is None:
            self._silent = False
            self._outage.end("judge server %s answers again", self.name)
        else:
            self._metrics.server_ejections.labels(self.name).inc()
            self._outage.begin("judge server %s gets no more calls: %s", self.name, failure)
        self._turned.set()
        self.on_change()

    def _record(
        self, outcome: Outcome, seconds: float, usage: Usage, meter: Meter, span: Span
    ) -> None:
        error = outcome if isinstance(outcome, JudgeError) else None
        label: CallOutcome = "ok" if error is None else error.kind
        meter.add(usage)
        prompt, cached = usage.prompt_tokens, usage.cached_tokens
        completion = usage.completion_tokens
        self._metrics.count_call(
            label, seconds, prompt=prompt, cached=cached, completion=completion
        )
        self._calls[label].inc()
        if span.is_recording():  # under OpenTelemetry's semantic conventions where there are any
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
            self._answered_at = time.monotonic()
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
        if self.up:
            return self._limits.look_every_s
        doublings = min(max(0, self._looks - 1), 16)
        wait_s = min(self._limits.max_look_s, self._limits.first_look_s * 2.0**doublings)
        # Spread, so that the looks of many services do not coincide.
        return wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - a spread, not a secret
