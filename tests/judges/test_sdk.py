"""`SdkChat`, the openai SDK, against a scripted judge on a real socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from citemark_schemas import FailureKind
from citemark_service.errors import (
    DeadlineExceeded,
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeServerError,
    JudgeStopped,
    JudgeTimeout,
    JudgeUnreachable,
    JudgeUnreadable,
    SettingsError,
)
from citemark_service.judges.chat import Alternative, ChatReply, ChatRequest, Constraint, Message
from citemark_service.judges.protocol import Meter, Usage
from citemark_service.judges.wire.retry import RetryPolicy
from citemark_service.judges.wire.sdk import SdkChat
from citemark_service.telemetry.metrics import Metrics
from support.scripted_judge import (
    MODEL,
    Answer,
    Cut,
    Drip,
    Hang,
    Listed,
    Raw,
    Reply,
    Reset,
    Script,
    ScriptedJudge,
    Status,
    always,
    in_turn,
)

StartJudge = Callable[[Script], Awaitable[ScriptedJudge]]
OpenChat = Callable[..., SdkChat]

CONSTRAINT = Constraint(regex=r"\{[0-2]\}", json_schema={"type": "object", "properties": {}})
PROMPT = "Otters hold hands while they sleep, says the answer under review."
REQUEST = ChatRequest((Message("user", PROMPT),), CONSTRAINT, 32, top_logprobs=5, priority=10)


@pytest.fixture
async def open_chat() -> AsyncIterator[OpenChat]:
    chats: list[SdkChat] = []

    def opened(judge: ScriptedJudge, **changed: Any) -> SdkChat:
        given: dict[str, Any] = {
            "base_url": judge.url,
            "model": MODEL,
            "api_key": "key",
            "logprobs": True,
            "concurrency": 8,
            "timeout_s": 5.0,
            "retry": RetryPolicy(attempts=3, first_wait_s=0.001),
            "metrics": Metrics(),
        }
        chats.append(SdkChat(**(given | changed)))
        return chats[-1]

    yield opened
    for chat in chats:
        await chat.aclose()


async def ask(
    chat: SdkChat, *, meter: Meter | None = None, within_s: float | None = None
) -> ChatReply:
    deadline = None if within_s is None else time.monotonic() + within_s
    return await chat.complete(REQUEST, meter=meter or Meter(), deadline=deadline)


async def test_the_body_has_only_fields_of_the_hosted_api(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(Reply("{1}")))
    await ask(open_chat(judge))
    await ask(open_chat(judge, logprobs=False))

    full, bare = judge.requests
    assert full == {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0.0,
        "seed": 0,
        "max_completion_tokens": 32,
        "logprobs": True,
        "top_logprobs": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "verdicts",
                "strict": True,
                "schema": {"type": "object", "properties": {}},
            },
        },
    }
    assert full.keys() - bare.keys() == {"logprobs", "top_logprobs"}
    assert judge.headers[0]["authorization"] == "Bearer key"


async def test_the_reply_and_the_bill_are_those_of_the_wire(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    tokens = (Listed("{"), Listed("1", -0.2, (("1", -0.2), ("0", -1.7))), Listed("}"))
    judge = await start_judge(always(Reply("{1}", "stop", tokens, cached_tokens=60)))
    meter = Meter()
    reply = await ask(open_chat(judge), meter=meter)

    assert (reply.content, reply.finish_reason) == ("{1}", "stop")
    assert reply.tokens is not None
    assert reply.tokens[1].alternatives == [Alternative("1", -0.2), Alternative("0", -1.7)]
    assert meter.usage == reply.usage == Usage(1, 100, 60, 10)


RETRIED: list[tuple[Answer, type[JudgeError]]] = [
    (Reset(), JudgeUnreachable),
    (Reset(sent=40), JudgeUnreachable),
    (Status(429), JudgeOverloaded),
    (Status(503), JudgeOverloaded),
    (Status(500), JudgeServerError),
    (Hang(), JudgeTimeout),
    (Drip(every_s=0.05), JudgeTimeout),
]
FINAL: list[tuple[Answer, type[JudgeError]]] = [
    (Status(400), JudgeRejected),
    (Status(401), JudgeRejected),
    (Status(409), JudgeRejected),
    (Raw(b"", 307, {"location": "http://127.0.0.1:1/v1"}), JudgeRejected),
    (Cut(), JudgeUnreadable),
    (Raw(b"<html>busy</html>"), JudgeUnreadable),
    (Raw(b"<html>busy</html>", headers={"content-encoding": "gzip"}), JudgeUnreachable),
    (Raw(b'{"verdicts":[1,2]}'), JudgeUnreadable),
    (Raw(b'{"error":{"message":"oops"}}'), JudgeUnreadable),
    (Raw(b'{"choices":[]}', 202), JudgeUnreadable),
    (Raw(b'{"x":"' + b"x" * 9_000_000 + b'"}'), JudgeUnreadable),
    (Reply(None), JudgeUnreadable),
]


@pytest.mark.parametrize(("fault", "error"), RETRIED)
async def test_a_transport_fault_is_retried_by_the_one_owner(
    fault: Answer, error: type[JudgeError], start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(fault))
    with pytest.raises(error) as raised:
        await ask(open_chat(judge, timeout_s=0.3))

    assert type(raised.value) is error
    assert judge.calls == 3  # the SDK adds none of its own


@pytest.mark.parametrize(("fault", "error"), FINAL, ids=range(len(FINAL)))
async def test_any_other_fault_has_its_name(
    fault: Answer, error: type[JudgeError], start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(fault))
    with pytest.raises(error) as raised:
        await ask(open_chat(judge, retry=RetryPolicy(attempts=1)))

    assert type(raised.value) is error
    assert judge.calls == 1


async def test_nobody_listening_is_unreachable(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(Reply("{1}")))
    await judge.refuse()

    with pytest.raises(JudgeUnreachable, match=judge.url):
        await ask(open_chat(judge))


async def test_retry_after_and_the_servers_words_are_read(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(
        in_turn(
            Status(429, "slow down", {"Retry-After": "20"}),
            Status(400, f"cannot read {PROMPT}"),
        )
    )
    chat = open_chat(judge)

    with pytest.raises(JudgeOverloaded, match="slow down") as raised:
        await ask(chat, within_s=10)
    assert raised.value.retry_after_s == 20
    with pytest.raises(JudgeRejected, match=r"^the judge answered HTTP 400$"):
        await ask(chat)


async def test_a_deadline_cuts_a_call_and_the_server_sees_it(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(Hang()))
    with pytest.raises(DeadlineExceeded) as raised:
        await ask(open_chat(judge), within_s=0.3)

    assert raised.value.kind is FailureKind.DEADLINE
    await judge.until(lambda: judge.abandoned == 1)


async def test_cancellation_reaches_the_server(
    start_judge: StartJudge, open_chat: OpenChat
) -> None:
    judge = await start_judge(always(Hang()))
    call = asyncio.create_task(ask(open_chat(judge)))
    await judge.until(lambda: judge.in_flight == 1)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await judge.until(lambda: judge.abandoned == 1)


async def test_the_environment_sends_no_prompt_elsewhere(
    start_judge: StartJudge, open_chat: OpenChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    judge = await start_judge(always(Reply("{1}")))
    await ask(open_chat(judge))

    assert judge.headers[0]["authorization"] == "Bearer key"


async def test_check_and_close(start_judge: StartJudge, open_chat: OpenChat) -> None:
    judge = await start_judge(always(Reply("{1}")))
    chat = open_chat(judge)
    await chat.check()
    judge.models = ("other",)
    with pytest.raises(JudgeRejected, match="serves other"):
        await chat.check()
    await chat.aclose()

    with pytest.raises(JudgeStopped):
        await ask(chat)


@pytest.mark.parametrize("api_key", [None, ""])
async def test_a_hosted_judge_needs_its_own_key(
    api_key: str | None,
    start_judge: StartJudge,
    open_chat: OpenChat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    judge = await start_judge(always(Reply("{1}")))

    with pytest.raises(SettingsError, match="judge_api_key"):
        open_chat(judge, api_key=api_key)
