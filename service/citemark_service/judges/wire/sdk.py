"""The client for hosted endpoints: their authentication and quirks are the openai SDK's.

The SDK's retries and its response models are off: retries have one owner (`retry.py`), and
replies are read by the same decoder as on the wire to vLLM. The key and the address are always
passed in, so the SDK's `OPENAI_API_KEY` and `OPENAI_BASE_URL` never send a prompt elsewhere;
its `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` are honoured, as its users expect.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import httpx2
import openai

from citemark_service.errors import JudgeError, JudgeStopped, JudgeUnreachable, SettingsError
from citemark_service.judges.chat import Chat, ChatReply, ChatRequest
from citemark_service.judges.protocol import Meter
from citemark_service.judges.scheduling.slots import Slots
from citemark_service.judges.wire.attempts import Attempts, gathered, verify_served
from citemark_service.judges.wire.endpoint import Endpoint
from citemark_service.judges.wire.payload import hosted_payload, without_surrogates
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.judges.wire.status import MESSAGE_LIMIT, status_error
from citemark_service.telemetry.metrics import Metrics
from citemark_service.telemetry.tracer import Tracer, Untraced


class SdkChat(Chat):
    """A `Chat` over `openai.AsyncOpenAI`, for endpoints that are not ours.

    `tracer` hears of the calls; the endpoint, being another's, does not hear of the trace.
    `logprobs` False leaves them out even where a request asks: many hosted models refuse them.

    Raises:
        SettingsError: there is no key; a server without one is `WireChat`'s.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        logprobs: bool,
        concurrency: int,
        timeout_s: float,
        retry: RetryPolicy,
        metrics: Metrics,
        tracer: Tracer | None = None,
    ) -> None:
        if not api_key:
            raise SettingsError("judge_api_key is needed for a hosted judge")
        self._endpoint = Endpoint(base_url, model, api_key)
        self._logprobs = logprobs
        self._retry = retry
        self._metrics = metrics
        self._attempts = Attempts(
            slots=Slots(concurrency),
            timeout_s=timeout_s,
            metrics=metrics,
            tracer=tracer or Untraced(),
            endpoint=self._endpoint,
        )
        self._client = _client(self._endpoint, concurrency)

    async def complete(
        self, request: ChatRequest, *, meter: Meter, deadline: float | None
    ) -> ChatReply:
        """See `Chat.complete`."""
        asked = without_surrogates(request if self._logprobs else replace(request, top_logprobs=0))
        payload: Any = hosted_payload(asked, model=self._endpoint.model)
        create = self._client.chat.completions.with_streaming_response.create
        prompt = [message.content for message in request.messages]

        async def send() -> bytes:
            return await self._body(lambda: create(**payload), prompt)

        async def attempt() -> ChatReply:
            return await self._attempts.once(send, turn=request, meter=meter, deadline=deadline)

        return await self._retry.run(attempt, deadline=deadline, on_retry=self._metrics.judge_retry)

    async def check(self) -> None:
        """See `Chat.check`: asks `{base_url}/models`, once."""

        async def send() -> bytes:
            return await self._body(self._client.models.with_streaming_response.list, ())

        verify_served(await self._attempts.listing(send), self._endpoint.model)

    async def aclose(self) -> None:
        """Close the connections; calls from now on raise `JudgeStopped`."""
        await self._client.close()

    async def _body(self, call: Callable[[], Any], prompt: Iterable[str]) -> bytes:
        """Read one reply; `call` is one of the SDK's `with_streaming_response` methods."""
        if self._client.is_closed():
            raise JudgeStopped("the judge client is closed")
        try:
            async with call() as response:
                if response.status_code == 200:
                    return await gathered(response.iter_bytes())
        except (openai.APIError, httpx2.HTTPError, OSError) as error:
            raise self._mapped(error, prompt) from error
        raise status_error(response.status_code, b"", retry_after=None, prompt=prompt)

    def _mapped(self, error: Exception, prompt: Iterable[str]) -> JudgeError:
        if isinstance(error, openai.APIStatusError):
            reply = error.response
            wait = reply.headers.get("Retry-After")
            return status_error(reply.status_code, reply.content, retry_after=wait, prompt=prompt)
        cause = error.__cause__ or error
        detail = str(cause)[:MESSAGE_LIMIT] or type(cause).__name__
        return JudgeUnreachable(f"no whole reply from {self._endpoint.base_url}: {detail}")


def _client(endpoint: Endpoint, concurrency: int) -> openai.AsyncOpenAI:
    http_client = httpx2.AsyncClient(
        # As many connections as slots: with fewer the pool would queue, which it does badly.
        limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        timeout=httpx2.Timeout(None),  # one limit only, kept by `Attempts`
        follow_redirects=False,
        trust_env=False,
    )
    return openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        max_retries=0,
        timeout=httpx2.Timeout(None),
        http_client=http_client,
    )
