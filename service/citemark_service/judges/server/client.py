"""The transport to vLLM and other OpenAI-compatible servers, on plain aiohttp and msgspec.

A training step makes hundreds of calls at once, whose CPU cost limits the service.
"""

import io
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import aiohttp
import msgspec

from citemark_service.errors import JudgeCannotRead, JudgeRejected, JudgeStopped
from citemark_service.judges.chat import ChatRequest, ConstraintStyle, Message
from citemark_service.judges.server.reply import (
    MAX_REPLY_BYTES,
    read_bounded,
    to_status_error,
    to_unreachable,
)
from citemark_service.judges.server.server import Endpoint
from citemark_service.telemetry.traces import trace_headers

_COMPRESSED: Final = (
    "the reply is compressed, which was not asked for; switch that off in the proxy that does it"
)
_NO_ROUTE: Final = (404, 405, 501)
_NO_READS: Final = (
    "verdicts are read at /v1/systemone, which vLLM has from 0.32 and SGLang from 0.5.23, for some "
    "models; CITEMARK_JUDGE_ASKS=write has them written and needs neither"
)
_ONE_WRITE: Final = 1024 * 1024  # bytes


class HttpTransport:
    """HTTP/1.1 with keep-alive to one server, with trace headers.

    Redirects are ignored, and the environment's proxies without `trust_env`: prompts go to the
    endpoint and nowhere else.
    `priorities` sends each call's priority, which vLLM refuses unless it schedules by it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        style: ConstraintStyle,
        priorities: bool,
        trust_env: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self._trust_env = trust_env
        self._base = endpoint.base_url.rstrip("/")
        self._root = self._base.removesuffix("/v1")
        self._style: ConstraintStyle = style
        self._priorities = priorities
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        try:
            body = self._encode(request)
        # Rare, so the texts are not scanned for lone surrogates before.
        except UnicodeEncodeError:
            body = self._encode(request.without_surrogates())
        if request.questions:
            return self._read(body, request.messages)
        return self._exchange("POST", f"{self._base}/chat/completions", body, request.messages)

    def list_models(self) -> Coroutine[Any, Any, bytes]:
        return self._exchange("GET", f"{self._base}/models", None, ())

    def count_tokens(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        sound = request.without_surrogates()
        payload = sound.payload(self.endpoint.model)
        asked = msgspec.json.encode({name: payload[name] for name in ("model", "messages")})
        return self._exchange("POST", f"{self._root}/tokenize", asked, sound.messages)

    async def _read(self, body: bytes, prompt: Sequence[Message]) -> bytes:
        try:
            return await self._exchange("POST", f"{self._base}/systemone", body, prompt)
        except JudgeRejected as refusal:
            if refusal.status not in _NO_ROUTE:
                raise
            raise JudgeCannotRead(f"{refusal}; {_NO_READS}", status=refusal.status) from refusal

    async def aclose(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _exchange(
        self, method: str, url: str, body: bytes | None, prompt: Sequence[Message]
    ) -> bytes:
        if self._closed:
            raise JudgeStopped("the judge client is closed")
        # Opened on the first call, since aiohttp needs a running loop.
        session = self._session = self._session or self._open_session()
        try:
            async with session.request(
                method,
                url,
                # aiohttp writes bytes in one go, and a stream in pieces that yield to the loop.
                data=io.BytesIO(body) if body is not None and len(body) > _ONE_WRITE else body,
                headers=trace_headers(),
                allow_redirects=False,
            ) as response:
                limit = MAX_REPLY_BYTES if response.status == 200 else 64 * 1024
                reply = await read_bounded(response.content.iter_any(), limit)
        except (aiohttp.ClientError, OSError) as error:
            raise to_unreachable(error, self.endpoint.base_url) from error
        headers = response.headers
        if response.status != 200:
            raise to_status_error(response.status, reply, headers.get("Retry-After"), prompt)
        if headers.get("Content-Encoding", "identity") != "identity":
            raise JudgeRejected(_COMPRESSED)
        return reply

    def _encode(self, request: ChatRequest) -> bytes:
        model = self.endpoint.model
        payload = (
            request.reading(model)
            if request.questions
            else request.payload(
                model,
                max_tokens=request.max_tokens,
                # Reasoning would use up `max_tokens` before the first verdict.
                chat_template_kwargs={"enable_thinking": False},
            )
        )
        if request.constraint is not None:
            payload |= request.constraint.payload(self._style)
        if request.open_ended:
            payload |= {"add_generation_prompt": False, "continue_final_message": True}
        if self._priorities and request.priority:
            payload["priority"] = request.priority
        return msgspec.json.encode(payload)

    def _open_session(self) -> aiohttp.ClientSession:
        # Decompression costs CPU, and a compressed reply would evade the bound on its size.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        return aiohttp.ClientSession(
            # No limit, since `Slots` bounds the connections. vLLM's uvicorn closes an idle
            # connection after 5 s; closing it earlier avoids sending a call into the close.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
            timeout=aiohttp.ClientTimeout(total=None),  # `Server` sets the only time limit
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=self._trust_env,
            auto_decompress=False,
        )
