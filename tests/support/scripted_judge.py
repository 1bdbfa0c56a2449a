"""An OpenAI-compatible judge on a real loopback socket that answers by script.

    async with ScriptedJudge(in_turn(Status(500), Reply("1"))) as judge:
        ...  # judge.url goes where a judge URL goes; judge.requests holds what was asked

A script is a callable from the decoded request to a `Reply` or a fault. The server is a bare
`asyncio.Protocol`, cheap enough to stand behind a benchmark, and it sees when a client leaves.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools
import msgspec

from citemark_service.settings import Settings

MODEL = "scripted"


@dataclass(frozen=True)
class Listed:
    """One token of the reply with its alternatives, as (text, logprob)."""

    text: str
    logprob: float = -0.01
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reply:
    """A chat completion. `tokens` None leaves logprobs out, asked for or not."""

    content: str | None
    finish_reason: str = "stop"
    tokens: tuple[Listed, ...] | None = None
    prompt_tokens: int = 100
    cached_tokens: int | None = None
    completion_tokens: int = 10
    reasoning: str | None = None
    delay_s: float = 0.0


@dataclass(frozen=True)
class Answers:
    """To the questions of a reading: the probabilities of each one's levels, by its key."""

    levels: Mapping[str, Sequence[float]]
    mass: float = 0.99


@dataclass(frozen=True)
class Status:
    """An HTTP error in OpenAI's shape."""

    code: int
    message: str = "scripted"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return msgspec.json.encode({"error": {"message": self.message}})


@dataclass(frozen=True)
class Raw:
    """Any body, for replies that are no JSON or no completion."""

    body: bytes
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Take the request and never answer."""


@dataclass(frozen=True)
class Reset:
    """Promise a whole reply, send `sent` bytes of its body and reset the connection."""

    sent: int = 0


@dataclass(frozen=True)
class Drip:
    """A good reply, one byte every `every_s`."""

    every_s: float = 0.05


CUT = Raw(b'{"id":"x","object":"chat.completion","created":0,"model":"scripted')
"""A proper length, but JSON that ends in the middle."""

Answer = Reply | Answers | Status | Raw | Hang | Reset | Drip
Script = Callable[[dict[str, Any]], Answer]


def always(answer: Answer) -> Script:
    return lambda _request: answer


def in_turn(*answers: Answer) -> Script:
    """The answers in order, the last one for ever."""
    coming = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _request: next(coming)


def completion(reply: Reply, *, model: str = MODEL) -> bytes:
    """The body of a chat completion, with the fields that vLLM sends."""
    usage: dict[str, Any] = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": None,
    }
    if reply.cached_tokens is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": reply.cached_tokens}
    tokens = [
        _listed(token.text, token.logprob)
        | {"top_logprobs": [_listed(*pair) for pair in token.alternatives]}
        for token in reply.tokens or ()
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": reply.content, "reasoning": reply.reasoning},
        "logprobs": None if reply.tokens is None else {"content": tokens},
        "finish_reason": reply.finish_reason,
    }
    envelope = {"id": "x", "object": "chat.completion", "created": 0, "model": model}
    return msgspec.json.encode({**envelope, "choices": [choice], "usage": usage})


def answered(answers: Answers, *, model: str = MODEL) -> bytes:
    """The body of a reading, with the fields that vLLM sends."""
    read = {
        key: {
            "type": "score",
            "score": sum(level * share for level, share in enumerate(shares)),
            "legend": {str(level): "…" for level in range(len(shares))},
            "probabilities": {str(level): share for level, share in enumerate(shares)},
            "confidence": max(shares) * answers.mass,
        }
        for key, shares in answers.levels.items()
    }
    diagnosis = {"label_mass": answers.mass, "argmax_is_label": answers.mass > 0.5}
    envelope = {"id": "x", "object": "structured_decision", "created": 0, "model": model}
    usage = {"input_tokens": 100 * len(read), "output_tokens": len(read)}
    told = {"answers": read, "usage": usage, "diagnostics": dict.fromkeys(read, diagnosis)}
    return msgspec.json.encode({**envelope, **told})


def _listed(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


class ScriptedJudge:
    """The server. `requests` and `headers` hold what came in, in order of arrival."""

    def __init__(
        self,
        script: Script,
        *,
        models: Sequence[str] | Status | None = (MODEL,),
        port: int = 0,
    ) -> None:
        self.script = script
        self.models = models
        self.max_model_len: int | None = None
        self.tokenize: Callable[[dict[str, Any]], int] | None = None
        """Counts the tokens of a request, where the server does."""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.abandoned = 0
        """Calls whose client left before it was answered."""
        self._port = port
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.connections: set[_Connection] = set()

    @property
    def url(self) -> str:
        """The base URL, `/v1` included; it stays the same over `refuse` and `listen`."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> "ScriptedJudge":
        await self.listen()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections, on the port of before if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Drop all connections and refuse new ones, as a killed server does."""
        if self._server is not None:
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener)
            # A server that closes while a connection is being accepted leaves that socket open.
            for _ in range(3):
                await asyncio.sleep(0)
        for connection in tuple(self.connections):
            connection.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is looked at whenever a call begins or ends."""
        async with asyncio.timeout(60.0):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def settings(self, **more: Any) -> Settings:
        """Of a service that asks this judge."""
        return Settings(**{"judge": "vllm", "judge_url": self.url, "judge_model": MODEL, **more})

    def models_body(self) -> bytes:
        """The list of models, no such list where `models` is None, or a status."""
        if self.models is None:
            return b"[]"
        if isinstance(self.models, Status):
            return self.models.body
        length = self.max_model_len
        data = [{"id": name, "object": "model", "max_model_len": length} for name in self.models]
        return msgspec.json.encode({"object": "list", "data": data})

    def body_of(self, reply: Reply) -> bytes:
        return completion(reply)

    def began(self, headers: dict[str, str], body: bytes) -> Answer:
        """Note one call and return what the script says to it."""
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._changed.set()
        self.requests.append(msgspec.json.decode(body))
        self.headers.append(headers)
        return self.script(self.requests[-1])

    def ended(self, *, abandoned: bool) -> None:
        self.in_flight -= 1
        self.abandoned += abandoned
        self._changed.set()


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, as HTTP/1.1 clients send them."""

    def __init__(self, judge: ScriptedJudge) -> None:
        self._judge = judge
        self._parser = httptools.HttpRequestParser(self)
        self.transport: Any = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""
        self._answering = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._judge.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._judge.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._answering:
            self._done(abandoned=True)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        url, headers, body = self._url, self._headers, self._body
        self._url, self._headers, self._body = b"", {}, b""
        if url == b"/v1/models":
            listed = self._judge.models
            code = listed.code if isinstance(listed, Status) else 200
            self._write(code, self._judge.models_body(), {})
        elif url in (b"/v1/chat/completions", b"/v1/systemone"):
            self._answering = True
            self._answer(self._judge.began(headers, body))
        elif url == b"/tokenize" and self._judge.tokenize is not None:
            count = self._judge.tokenize(msgspec.json.decode(body))
            counted: dict[str, Any] = {
                "count": count,
                "max_model_len": self._judge.max_model_len,
                "tokens": [],
            }
            self._write(200, msgspec.json.encode(counted), {})
        else:
            self._write(404, b"{}", {})

    def _answer(self, answer: Answer) -> None:
        match answer:
            case Answers():
                self._finish(200, answered(answer), {})
            case Reply():
                self._later(answer.delay_s, self._finish, 200, self._judge.body_of(answer), {})
            case Status() | Raw():
                self._finish(answer.code, answer.body, answer.headers)
            case Reset():
                body = completion(Reply("reset"))
                self.transport.write(_head(200, len(body), {}) + body[: answer.sent])
                # Aborted at once, the bytes might be thrown away unsent.
                self._later(0.01, self.transport.abort)
            case Drip():
                body = completion(Reply("drip"))
                self.transport.write(_head(200, len(body), {}))
                self._drip(body, answer.every_s)
            case Hang():
                pass

    def _later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        if seconds <= 0:
            call(*args)
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, call, *args)

    def _drip(self, body: bytes, every_s: float) -> None:
        self.transport.write(body[:1])
        if len(body) > 1:
            self._later(every_s, self._drip, body[1:], every_s)
        else:
            self._done(abandoned=False)

    def _finish(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._write(code, body, headers)
        self._done(abandoned=False)

    def _done(self, *, abandoned: bool) -> None:
        self._answering = False
        self._judge.ended(abandoned=abandoned)

    def _write(self, code: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.transport.write(_head(code, len(body), headers) + body)


def _head(code: int, length: int, headers: Mapping[str, str]) -> bytes:
    named = {"content-type": "application/json", "content-length": length, **headers}
    lines = [f"HTTP/1.1 {code} Scripted", *(f"{name}: {value}" for name, value in named.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
