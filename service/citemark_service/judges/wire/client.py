"""The client for vLLM and other OpenAI-compatible servers: aiohttp and msgspec, nothing between.

A training step makes hundreds of calls at once, so their CPU cost is the service's own: the
body is encoded once a call, and of the reply only the needed fields are decoded.
"""

import io
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from citemark_service.errors import JudgeStopped, JudgeUnreachable
from citemark_service.judges.chat import Chat, ChatReply, ChatRequest
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.slots import DEFAULT_QUEUE, Slots
from citemark_service.judges.wire.attempts import Attempts, gathered, verify_served
from citemark_service.judges.wire.endpoint import Endpoint
from citemark_service.judges.wire.payload import ConstraintStyle, vllm_payload, without_surrogates
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.judges.wire.status import MESSAGE_LIMIT, status_error
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Tracer, Untraced

_ERROR_BYTES: Final = 64 * 1024
_ONE_WRITE: Final = 1024 * 1024
_IDLE_S: Final = 4.0  # below the 5 s after which vLLM's uvicorn closes an idle connection


class WireChat(Chat):
    """A `Chat` over HTTP/1.1 keep-alive; connections are opened inside the running loop.

    `queue` bounds the calls that wait for one of `concurrency` slots; `priorities` sends their
    priority along, `tracer` the trace that they belong to. Redirects are not followed and proxies
    of the environment are not used: a prompt goes to `base_url` and nowhere else.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        constraint_style: ConstraintStyle,
        concurrency: int,
        timeout_s: float,
        retry: RetryPolicy,
        metrics: Metrics,
        queue: int = DEFAULT_QUEUE,
        priorities: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        self._endpoint = Endpoint(base_url, model, api_key)
        self._completions = self._endpoint.url("chat/completions")
        self._style = constraint_style
        self._priorities = priorities
        self._retry = retry
        self._metrics = metrics
        self._tracer = tracer or Untraced()
        self._attempts = Attempts(
            slots=Slots(concurrency, queue),
            timeout_s=timeout_s,
            metrics=metrics,
            tracer=self._tracer,
            endpoint=self._endpoint,
        )
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def slots(self) -> Slots:
        """What bounds and orders the calls to this server."""
        return self._attempts.slots

    async def complete(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """See `Chat.complete`."""

        async def attempt() -> ChatReply:
            return await self.attempt(request, meter=meter, deadline=deadline)

        return await self._retry.run(attempt, deadline=deadline, on_retry=self._metrics.judge_retry)

    async def attempt(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """As `Chat.complete`, with one HTTP call; `Displaced` where it was not even sent."""

        async def send() -> bytes:
            # Encoded now and not before: thousands of waiting calls would hold their bodies.
            prompt = [message.content for message in request.messages]
            return await self._exchange("POST", self._completions, self._encoded(request), prompt)

        return await self._attempts.once(send, turn=request, meter=meter, deadline=deadline)

    async def check(self) -> None:
        """See `Chat.check`: asks `{base_url}/models`, once."""

        async def send() -> bytes:
            return await self._exchange("GET", self._endpoint.url("models"), None, [])

        verify_served(await self._attempts.listing(send), self._endpoint.model)

    async def aclose(self) -> None:
        """Close the connections; calls from now on raise `JudgeStopped`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _encoded(self, request: ChatRequest) -> bytes:
        try:
            return self._encode(request)
        except UnicodeEncodeError:
            return self._encode(without_surrogates(request))

    def _encode(self, request: ChatRequest) -> bytes:
        payload = vllm_payload(
            request, model=self._endpoint.model, style=self._style, priorities=self._priorities
        )
        return msgspec.json.encode(payload)

    async def _exchange(
        self, method: str, url: str, body: bytes | None, prompt: list[str]
    ) -> bytes:
        session = self._opened()
        try:
            async with session.request(
                method,
                url,
                data=_sendable(body),
                headers=self._tracer.headers(),
                allow_redirects=False,
            ) as response:
                if response.status == 200:
                    return await gathered(response.content.iter_any())
                said = await gathered(response.content.iter_any(), _ERROR_BYTES)
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        wait = response.headers.get("Retry-After")
        raise status_error(response.status, said, retry_after=wait, prompt=prompt)

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise JudgeStopped("the judge client is closed")
        if self._session is None:
            self._session = _session(self._headers())
        return self._session

    def _headers(self) -> Mapping[str, str]:
        # Compressed replies would cost CPU on loopback and defeat the bound on their size.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key}"
        return headers

    def _unreachable(self, error: Exception) -> JudgeUnreachable:
        detail = str(error)[:MESSAGE_LIMIT] or type(error).__name__
        return JudgeUnreachable(f"no whole reply from {self._endpoint.base_url}: {detail}")


def _sendable(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp writes bytes at once; from a stream it lets the loop breathe between chunks.
    return body if body is None or len(body) <= _ONE_WRITE else io.BytesIO(body)


def _session(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # No limit here: the semaphore in front bounds the connections, the pool never queues.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S),
        timeout=aiohttp.ClientTimeout(total=None),  # one limit only, kept by `Attempts`
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )
