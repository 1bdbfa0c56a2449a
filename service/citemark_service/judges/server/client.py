"""The transport to vLLM and other OpenAI-compatible servers: aiohttp and msgspec, nothing between.

A training step makes hundreds of calls at once, so their CPU cost is the service's own.
"""

import io
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from citemark_service.errors import JudgeStopped
from citemark_service.judges.chat import ChatRequest, ConstraintStyle, Message
from citemark_service.judges.server.reply import read_bounded, to_status_error, to_unreachable
from citemark_service.judges.server.server import Endpoint
from citemark_service.telemetry.traces import trace_headers

_ONE_WRITE: Final = 1024 * 1024


class HttpTransport:
    """HTTP/1.1 keep-alive to one server; connections are opened inside the running loop.

    Redirects are not followed and proxies of the environment are not used: a prompt goes to the
    endpoint and nowhere else. The server being our own, it gets the trace of the call along.

    Args:
        priorities: send each call's priority. vLLM refuses the field unless it schedules by it.
    """

    def __init__(self, endpoint: Endpoint, *, style: ConstraintStyle, priorities: bool) -> None:
        self.endpoint = endpoint
        self._base = endpoint.base_url.rstrip("/")
        self._style: ConstraintStyle = style
        self._priorities = priorities
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        """Post `request` when awaited; the body of the reply. Nothing is retried or timed here.

        Raises:
            JudgeError: no connection, or a status other than 200.
        """
        try:
            body = self._encode(request)
        except UnicodeEncodeError:
            body = self._encode(request.without_surrogates())
        return self._exchange("POST", "chat/completions", body, request.messages)

    def list_models(self) -> Coroutine[Any, Any, bytes]:
        return self._exchange("GET", "models", None, ())

    async def aclose(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _exchange(
        self, method: str, route: str, body: bytes | None, prompt: Sequence[Message]
    ) -> bytes:
        if self._closed:
            raise JudgeStopped("the judge client is closed")
        session = self._session = self._session or self._open_session()
        try:
            async with session.request(
                method,
                f"{self._base}/{route}",
                # aiohttp writes bytes at once; from a stream it lets the loop breathe in between.
                data=io.BytesIO(body) if body is not None and len(body) > _ONE_WRITE else body,
                headers=trace_headers(),
                allow_redirects=False,
            ) as response:
                if response.status == 200:
                    return await read_bounded(response.content.iter_any())
                words = await read_bounded(response.content.iter_any(), 64 * 1024)
        except (aiohttp.ClientError, OSError) as error:
            raise to_unreachable(error, self.endpoint.base_url) from error
        wait = response.headers.get("Retry-After")
        raise to_status_error(response.status, words, wait, prompt)

    def _encode(self, request: ChatRequest) -> bytes:
        payload = request.payload(self.endpoint.model)
        payload["max_tokens"] = request.max_tokens
        # A reasoning judge would spend `max_tokens` before its first verdict.
        payload["chat_template_kwargs"] = {"enable_thinking": False}
        if request.constraint is not None:
            payload |= request.constraint.payload(self._style)
        if request.open_ended:
            payload |= {"add_generation_prompt": False, "continue_final_message": True}
        if self._priorities and request.priority:
            payload["priority"] = request.priority
        return msgspec.json.encode(payload)

    def _open_session(self) -> aiohttp.ClientSession:
        # Compressed replies would cost CPU on loopback and defeat the bound on their size.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        return aiohttp.ClientSession(
            # No limit: the slots in front bound the connections, and the pool never queues. After
            # 5 s vLLM's uvicorn closes an idle connection; this end does so before.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
            timeout=aiohttp.ClientTimeout(total=None),  # one limit only, kept by `Server`
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
        )
