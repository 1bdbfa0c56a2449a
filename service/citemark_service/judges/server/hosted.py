"""The transport to hosted endpoints, through the openai package.

Its retries and response models are not used: `pool.py` retries, and replies are decoded as those
of vLLM. Key and address are always passed in, so that `OPENAI_API_KEY` and `OPENAI_BASE_URL`
cannot redirect a prompt; `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` are honoured.
"""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import httpx2
import openai

from citemark_service.errors import JudgeRejected, JudgeStopped, SettingsError
from citemark_service.judges.chat import ChatRequest, Message
from citemark_service.judges.server.reply import read_bounded, to_status_error, to_unreachable
from citemark_service.judges.server.server import Endpoint


class HostedTransport:
    """`openai.AsyncOpenAI` to one endpoint, without trace headers.

    `connections` must be the number of slots; with fewer, calls would queue in the client.
    Raises `SettingsError` where the endpoint has no key.
    """

    def __init__(self, endpoint: Endpoint, *, connections: int, trust_env: bool = False) -> None:
        if not endpoint.api_key:
            raise SettingsError("judge_api_key is needed for a hosted judge")
        self.endpoint = endpoint
        client = httpx2.AsyncClient(
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            timeout=httpx2.Timeout(None),
            follow_redirects=False,
            trust_env=trust_env,
        )
        self._client = openai.AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            max_retries=0,
            timeout=httpx2.Timeout(None),  # `Server` sets the only time limit
            http_client=client,
        )

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, bytes]:
        # Only fields of OpenAI's API reference: others are refused.
        sound = request.without_surrogates()
        limit = "max_completion_tokens"
        if limit in sound.omits:
            limit = "max_tokens"  # its older name, which Mistral's API goes by
        payload = sound.payload(self.endpoint.model, **{limit: sound.max_tokens})
        if sound.constraint is not None:
            payload |= sound.constraint.payload("json_schema")
        create = self._client.chat.completions.with_streaming_response.create
        return self._read(partial(create, **payload), request.messages)

    def list_models(self) -> Coroutine[Any, Any, bytes]:
        return self._read(self._client.models.with_streaming_response.list, ())

    async def count_tokens(self, request: ChatRequest) -> bytes:  # noqa: ARG002
        raise JudgeRejected("hosted APIs have no route that counts tokens")

    async def aclose(self) -> None:
        await self._client.close()

    async def _read(self, call: Callable[[], Any], prompt: Sequence[Message]) -> bytes:
        if self._client.is_closed():
            raise JudgeStopped("the judge client is closed")
        try:
            async with call() as response:
                if response.status_code == 200:
                    return await read_bounded(response.iter_bytes())
        except openai.APIStatusError as error:
            body, reply = error.response.content, error.response
            wait = reply.headers.get("Retry-After")
            raise to_status_error(reply.status_code, body, wait, prompt) from error
        except (openai.APIError, httpx2.HTTPError, OSError) as error:
            # The text of the package is "Connection error."; the cause has the details.
            raise to_unreachable(error.__cause__ or error, self.endpoint.base_url) from error
        # A success other than 200, for which the package raises nothing.
        raise to_status_error(response.status_code, b"", None, prompt)
