"""A pool of one scripted judge on a real socket, through each of the transports."""

import asyncio
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import msgspec
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
from citemark_service.judges.server.pool import JudgePool
from citemark_service.judges.server.server import Endpoint
from citemark_service.judges.tasks import Meter, Usage
from citemark_service.telemetry.metrics import Metrics
from support.judge_tasks import RetryLog
from support.pooled_judge import pool_of
from support.scripted_judge import (
    CUT,
    MODEL,
    Answer,
    Drip,
    Hang,
    Listed,
    Raw,
    Reply,
    Reset,
    Status,
    always,
    in_turn,
)

SCHEMA = {"type": "object", "properties": {}}
CONSTRAINT = Constraint(regex=r"\{[0-2]\}", json_schema=SCHEMA)
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "verdicts", "strict": True, "schema": SCHEMA},
}
PROMPT = "Otters hold hands while they sleep, says the answer under review."
REQUEST = ChatRequest((Message("system", "Judge."), Message("user", PROMPT)), CONSTRAINT, 32)
BODY = {  # what every server is sent for it
    "model": MODEL,
    "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": PROMPT}],
    "temperature": 0.0,
    "seed": 0,
}


@pytest.fixture
async def open_vllm():
    """`open_vllm(judge, …)` is a pool of that one server, with the options of `pool_of`."""
    pools: list[JudgePool] = []

    def opened(judge, *, path="", **options):
        pools.append(pool_of([judge.url + path], **{"api_key": "key", **options}))
        return pools[-1]

    yield opened
    for pool in pools:
        await pool.aclose()


@pytest.fixture(params=[False, True], ids=["vllm", "hosted"])
def open_pool(open_vllm, request):
    """Likewise, over aiohttp and over the openai package."""
    return partial(open_vllm, hosted=request.param)


async def ask(pool: JudgePool, request=REQUEST, *, meter=None, within_s=None) -> ChatReply:
    deadline = None if within_s is None else time.monotonic() + within_s
    return await pool.complete(request, meter=meter or Meter(), deadline=deadline)


async def test_the_body_is_what_vllm_reads(start_judge, open_vllm):
    judge = await start_judge(always(Reply("{1}")))
    await ask(open_vllm(judge), replace(REQUEST, priority=10))  # which the server is not told
    own = {
        "max_tokens": 32,
        "chat_template_kwargs": {"enable_thinking": False},
        "structured_outputs": {"regex": CONSTRAINT.regex},
    }
    assert judge.requests == [BODY | own]
    assert judge.headers[0]["authorization"] == "Bearer key"
    assert judge.headers[0]["content-type"] == "application/json"


async def test_what_is_optional_is_sent_when_it_is_asked_for(start_judge, open_vllm):
    judge = await start_judge(always(Reply("{1}")))
    pool = open_vllm(judge, style="json_schema", priorities=True, api_key=None)
    await ask(pool, replace(REQUEST, temperature=0.3, top_logprobs=5, priority=10))
    await ask(pool, replace(REQUEST, constraint=None))
    full, bare = judge.requests
    assert full["response_format"] == RESPONSE_FORMAT
    assert (full["logprobs"], full["top_logprobs"]) == (True, 5)
    assert (full["temperature"], full["priority"]) == (0.3, 10)
    optional = {"response_format", "logprobs", "top_logprobs", "priority"}
    assert full.keys() - bare.keys() == optional
    assert "authorization" not in judge.headers[0]


async def test_the_body_has_only_fields_of_the_hosted_api(start_judge, open_vllm):
    judge = await start_judge(always(Reply("{1}")))
    request = replace(REQUEST, top_logprobs=5, priority=10)
    await ask(open_vllm(judge, hosted=True, priorities=True), request)
    own = {"max_completion_tokens": 32, "logprobs": True, "top_logprobs": 5}
    assert judge.requests == [BODY | own | {"response_format": RESPONSE_FORMAT}]
    assert judge.headers[0]["authorization"] == "Bearer key"


async def test_a_lone_surrogate_in_a_rollout_is_sent_as_a_question_mark(start_judge, open_pool):
    judge = await start_judge(always(Reply("{1}")))
    messages = (Message("user", "é \ud800 🦦"),)
    await ask(open_pool(judge), ChatRequest(messages, None, 8))
    assert judge.requests[0]["messages"][0]["content"] == "é ? 🦦"


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_proxy_of_the_environment_is_taken_only_where_it_is_trusted(
    start_judge, open_pool, closed_url, monkeypatch, trusted
):
    monkeypatch.setenv("http_proxy", closed_url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    judge = await start_judge(always(Reply("{1}")))
    pool = open_pool(judge, trust_env=trusted, attempts=1)
    if not trusted:
        assert (await ask(pool)).content == "{1}"
        return
    with pytest.raises(JudgeUnreachable):
        await ask(pool)


async def test_a_prompt_of_megabytes_arrives_whole_and_again(start_judge, open_pool):
    judge = await start_judge(in_turn(Status(500), Reply("{1}")))
    messages = (Message("user", "otter " * 500_000),)
    await ask(open_pool(judge), ChatRequest(messages, None, 8))
    assert len(judge.requests) == 2
    assert all(body["messages"][0]["content"] == messages[0].content for body in judge.requests)


async def test_the_reply_the_meter_and_the_observer_agree(start_judge, open_pool):
    tokens = (Listed("{"), Listed("1", -0.2, (("1", -0.2), ("0", -1.7))), Listed("}"))
    judge = await start_judge(always(Reply("{1}", "stop", tokens, cached_tokens=60)))
    metrics, meter = RetryLog(), Meter()
    reply = await ask(open_pool(judge, metrics=metrics), meter=meter)
    assert (reply.content, reply.finish_reason) == ("{1}", "stop")
    assert reply.tokens is not None
    assert reply.tokens[1].logprob == -0.2
    assert reply.tokens[1].alternatives == [Alternative("1", -0.2), Alternative("0", -1.7)]
    assert meter.usage == reply.usage == Usage(1, 100, 60, 10)
    assert metrics.calls == [("ok", (100, 60, 10))]


RETRIED: list[tuple[Answer, type[JudgeError]]] = [
    (Reset(), JudgeUnreachable),
    (Reset(sent=40), JudgeUnreachable),
    (CUT, JudgeUnreachable),
    (Status(429), JudgeOverloaded),
    (Status(503), JudgeOverloaded),
    (Status(500), JudgeServerError),
    (Status(502), JudgeServerError),
    (Status(504), JudgeServerError),
    (Status(408), JudgeTimeout),
    (Hang(), JudgeTimeout),
    (Drip(every_s=0.1), JudgeTimeout),
]
FINAL: list[tuple[Answer, type[JudgeError]]] = [
    (Status(400), JudgeRejected),
    (Status(404), JudgeRejected),
    (Status(422), JudgeRejected),
    (Raw(b"", 307, {"location": "http://127.0.0.1:1/v1"}), JudgeRejected),
    (Raw(b'{"choices":[]}', 202), JudgeUnreadable),
    (Raw(b"", 204), JudgeUnreadable),
    (Raw(b'{"x":"' + b"x" * 9_000_000 + b'"}'), JudgeUnreadable),
    (Reply(None), JudgeUnreadable),
]


@pytest.mark.parametrize(("fault", "error"), RETRIED)
async def test_a_transport_fault_is_retried_until_it_passes_or_raised_by_its_name(
    fault, error, start_judge, open_pool
):
    judge = await start_judge(in_turn(fault, fault, Reply("{1}"), fault))
    metrics, meter = RetryLog(), Meter()
    # Few seconds to a fault that never ends, but enough to get there.
    limit_s = 1.0 if isinstance(fault, Hang | Drip) else 30.0
    pool = open_pool(judge, metrics=metrics, timeout_s=limit_s)
    assert (await ask(pool, meter=meter)).content == "{1}"
    assert metrics.retries == [error.kind, error.kind]
    assert [kind for kind, _ in metrics.calls] == [error.kind, error.kind, "ok"]
    assert meter.usage.calls == 1  # the server billed one
    with pytest.raises(error) as raised:
        await ask(pool)
    assert type(raised.value) is error
    assert judge.calls == 3 + 3
    assert not isinstance(fault, Status) or str(fault.code) in str(raised.value)


@pytest.mark.parametrize(("fault", "error"), FINAL, ids=range(len(FINAL)))
async def test_a_reply_that_would_come_again_is_not_retried(fault, error, start_judge, open_pool):
    judge = await start_judge(always(fault))
    metrics = RetryLog()
    with pytest.raises(error) as raised:
        await ask(open_pool(judge, metrics=metrics))
    assert type(raised.value) is error
    assert judge.calls == 1
    assert [kind for kind, _ in metrics.calls] == [error.kind]
    assert not isinstance(fault, Status) or str(fault.code) in str(raised.value)


async def test_a_compressed_reply_that_is_none_breaks_off(start_judge, open_vllm):
    body = Raw(b"<html>busy</html>", headers={"content-encoding": "gzip"})
    judge = await start_judge(always(body))
    with pytest.raises(JudgeUnreachable):
        await ask(open_vllm(judge, hosted=True, attempts=1))


async def test_reasoning_is_never_read_for_content_and_is_paid_for(start_judge, open_pool):
    thought = Reply(None, reasoning='{"C1": 2}', prompt_tokens=9, completion_tokens=3)
    judge, meter = await start_judge(always(thought)), Meter()
    with pytest.raises(JudgeUnreadable, match="no content"):
        await ask(open_pool(judge), meter=meter)
    assert meter.usage == Usage(1, 9, 0, 3)


async def test_nobody_listening_is_unreachable_and_a_return_is_noticed(start_judge, open_pool):
    judge = await start_judge(always(Reply("{1}")))
    pool = open_pool(judge)
    await ask(pool)
    await judge.refuse()
    with pytest.raises(JudgeUnreachable, match=judge.url):
        await ask(pool)
    with pytest.raises(JudgeUnreachable):
        await pool.check()
    await judge.listen()
    assert (await ask(pool)).content == "{1}"


async def test_retry_after_reaches_the_caller_when_the_deadline_is_nearer(start_judge, open_pool):
    judge = await start_judge(always(Status(429, headers={"Retry-After": "20"})))
    with pytest.raises(JudgeOverloaded) as raised:
        await ask(open_pool(judge), within_s=10)
    assert raised.value.retry_after_s == 20
    assert judge.calls == 1


async def test_a_rejection_says_why_unless_it_echoes_the_prompt(start_judge, open_pool):
    judge = await start_judge(
        in_turn(Status(400, "regex is too deep"), Status(400, f"cannot tokenize: {PROMPT}"))
    )
    pool = open_pool(judge)
    for words in (": regex is too deep", ""):
        with pytest.raises(JudgeRejected, match=rf"^the judge answered HTTP 400{words}$"):
            await ask(pool)


async def test_a_deadline_cuts_a_call(start_judge, open_pool):
    judge = await start_judge(always(Hang()))
    metrics = RetryLog()
    with pytest.raises(DeadlineExceeded):
        await ask(open_pool(judge, metrics=metrics), within_s=1.0)
    with pytest.raises(DeadlineExceeded):
        await ask(open_pool(judge), within_s=-1)
    assert judge.calls == 1
    assert metrics.calls == [(FailureKind.DEADLINE, (0, 0, 0))]
    await judge.until(lambda: judge.abandoned == 1)


async def test_no_slot_is_held_during_a_pause_before_a_retry(start_judge, open_pool):
    judge = await start_judge(in_turn(Status(429, headers={"Retry-After": "20"}), Reply("{1}")))
    pool = open_pool(judge, concurrency=1)
    pausing = asyncio.create_task(ask(pool))
    await judge.until(lambda: judge.calls == 1)
    assert (await ask(pool, within_s=10)).content == "{1}"
    assert not pausing.done()
    pausing.cancel()
    await asyncio.wait([pausing])


async def test_cancellation_reaches_the_server_and_frees_the_slot(start_judge, open_pool):
    judge = await start_judge(in_turn(Hang(), Reply("{1}")))
    metrics = RetryLog()
    pool = open_pool(judge, concurrency=1, metrics=metrics)
    call = asyncio.create_task(ask(pool))
    await judge.until(lambda: judge.in_flight == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await judge.until(lambda: judge.abandoned == 1)
    assert metrics.retries == []
    assert (await ask(pool)).content == "{1}"


async def test_closing_ends_what_is_in_flight_and_nobody_is_asked_any_more(start_judge, open_pool):
    judge = await start_judge(always(Hang()))
    pool = open_pool(judge)
    call = asyncio.create_task(ask(pool))
    await judge.until(lambda: judge.in_flight == 1)
    await pool.aclose()
    for stopped in (call, ask(pool)):
        with pytest.raises(JudgeStopped):
            await stopped
    assert judge.calls == 1


NO_SUCH = Status(404, "no such model")


@pytest.mark.parametrize(
    ("models", "path", "answer", "why"),
    [
        ((MODEL,), "", NO_SUCH, None),
        (None, "", NO_SUCH, None),  # no readable list
        (("one", "two"), "", Reply("x"), None),  # the name is an alias
        (Status(404), "", Reply("x"), None),
        (("one", "two"), "", NO_SUCH, f"serves one, two, not {MODEL}; .* 404: no such model"),
        (Status(401, "bad key"), "", Status(401), "401: bad key"),
        ((MODEL,), "/typo", Reply("x"), "404"),
    ],
)
async def test_check_says_what_is_served_and_when_the_path_is_wrong(
    start_judge, open_pool, *, models, path, answer, why
):
    judge = await start_judge(always(answer))
    judge.models = models
    pool = open_pool(judge, path=path)
    for _ in range(2):  # an alias is asked about once in a while
        with pytest.raises(JudgeRejected, match=why) if why else nullcontext():
            await pool.check()
    assert judge.calls <= 2 if why else judge.calls <= 1


GPT_5 = "Unsupported value: 'temperature' does not support 0 with this model."
MISTRAL = {"object": "error", "type": "invalid_request_error"}
FORBIDDEN = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted", "input": 0}


def forbidding(*fields: str) -> Raw:
    detail = [{**FORBIDDEN, "loc": ["body", name]} for name in fields]
    return Raw(msgspec.json.encode({**MISTRAL, "message": {"detail": detail}}), 422)


REFUSALS = [
    ("logprobs", 0, Status(403, "You are not allowed to request logprobs from this model"), 0),
    ("temperature", -1, Status(400, GPT_5), 8),
    ("logprobs", 0, Status(400, "property 'logprobs' is unsupported with this model"), 0),
    ("top_logprobs", 5, Status(400, "top_logprobs: 8 is more than 5, the most"), 5),
    ("top_logprobs", 5, Status(400, "Requested sample logprobs of 8, which is greater than 5"), 5),
    ("seed", -1, forbidding("seed"), 8),
    ("logprobs", 0, forbidding("logprobs", "top_logprobs", "seed"), 0),
]


@pytest.mark.parametrize(("field", "most", "refusal", "left"), REFUSALS, ids=range(len(REFUSALS)))
async def test_what_a_server_refuses_is_left_out_from_then_on_and_told_once(
    start_judge, open_pool, caplog, *, field, most, refusal, left
):
    def script(request):
        return refusal if request.get(field, -1) > most else Reply("{1}")

    judge, metrics = await start_judge(script), RetryLog()
    pool, asked = open_pool(judge, metrics=metrics, attempts=1), replace(REQUEST, top_logprobs=8)
    await asyncio.gather(*(ask(pool, asked) for _ in range(4)))
    assert 5 <= judge.calls <= 8
    before = judge.calls
    await ask(pool, asked)
    assert judge.calls == before + 1
    assert judge.requests[-1].get("top_logprobs", 0) == left
    (line,) = (each for each in caplog.records if each.levelname == "WARNING")
    assert field in line.getMessage()
    assert [kind for kind, _ in metrics.calls] == ["ok"] * 5


async def test_what_a_server_cannot_do_without_is_no_field_to_leave_out(start_judge, open_pool):
    judge = await start_judge(always(Status(400, "temperature is refused, and all else")))
    with pytest.raises(JudgeRejected):
        await ask(open_pool(judge))
    assert judge.calls == 2


async def test_a_limit_by_its_older_name(start_judge, open_vllm):
    judge = await start_judge(in_turn(forbidding("max_completion_tokens"), Reply("{1}")))
    await ask(open_vllm(judge, hosted=True))
    assert [
        sorted(each.keys() & {"max_tokens", "max_completion_tokens"}) for each in judge.requests
    ] == [["max_completion_tokens"], ["max_tokens"]]


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":null,"error":%s}',
        b'{"choices":[{"message":{"content":""},"finish_reason":"error","error":%s}]}',
    ],
)
async def test_an_overload_inside_a_success_is_waited_for(start_judge, open_pool, body):
    busy = Raw(body % b'{"code":429,"message":"Rate limit exceeded"}')
    judge = await start_judge(in_turn(busy, busy, Reply("{1}"), busy))
    metrics = RetryLog()
    pool = open_pool(judge, metrics=metrics)
    assert (await ask(pool)).content == "{1}"
    assert metrics.retries == [FailureKind.OVERLOADED] * 2
    with pytest.raises(JudgeOverloaded, match="HTTP 200 with an error 429: Rate limit exceeded"):
        await ask(pool)


async def test_a_compressed_reply_says_what_to_do(start_judge, open_vllm):
    judge = await start_judge(always(Raw(b"\x1f\x8b", headers={"content-encoding": "gzip"})))
    with pytest.raises(JudgeRejected, match=r"compressed, .*switch that off"):
        await ask(open_vllm(judge))


async def test_the_environment_sends_no_prompt_elsewhere(start_judge, open_pool, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    judge = await start_judge(always(Reply("{1}")))
    assert (await ask(open_pool(judge))).content == "{1}"
    assert judge.headers[0]["authorization"] == "Bearer key"


async def test_the_wait_for_a_slot_is_observed_whether_it_is_in_vain_or_not(start_judge, open_pool):
    busy_s, metrics = 0.3, Metrics()
    judge = await start_judge(always(Reply("{1}", delay_s=busy_s)))
    pool = open_pool(judge, concurrency=1, metrics=metrics, timeout_s=60.0)

    def waits(what: str) -> float:
        name = f"citemark_stage_seconds_{what}"
        return metrics.registry.get_sample_value(name, {"stage": "queue"}) or 0.0

    await asyncio.gather(*(ask(pool) for _ in range(3)))
    before = waits("sum")
    assert before > (0 + 1 + 2) * busy_s * 0.9
    judge.script = always(Hang())
    holder = asyncio.create_task(ask(pool))
    await judge.until(lambda: judge.calls == 4)
    with pytest.raises(DeadlineExceeded, match="waiting"):
        await ask(pool, within_s=busy_s)
    holder.cancel()
    await asyncio.wait([holder])
    assert (judge.calls, waits("count")) == (4, 5)
    assert waits("sum") - before > busy_s * 0.9


UNUSABLE = """127.0.0.1:8001/v1 ftp://judge/v1 http:// http://me:secret@judge/v1
ftp://me:secret@judge/v1 http://judge:port/v1 http://judge/v1?key=value http://[judge/v1"""


KEYS = [("http://judge/v1", "key\n"), ("http://judge/v1", "schlüssel")]


@pytest.mark.parametrize(
    ("base_url", "api_key"), [*((url, None) for url in ["", *UNUSABLE.split()]), *KEYS]
)
def test_an_address_or_key_that_cannot_work_is_refused_at_once(base_url, api_key):
    with pytest.raises(SettingsError) as raised:
        Endpoint(base_url, MODEL, api_key)
    assert "secret" not in str(raised.value)
