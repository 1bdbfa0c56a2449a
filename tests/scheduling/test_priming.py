"""Priming over scripted judges: one call per group and server, ahead, and never in the way."""

import asyncio
import time

import pytest

from citemark_service.errors import DeadlineExceeded
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.tasks import Meter
from citemark_service.telemetry.metrics import Metrics
from support.judge_tasks import RESPONSE, by_shape, claims_task, criteria_task
from support.pooled_judge import ask, pooled, request
from support.scripted_judge import Answer, Hang, Reply, Script, ScriptedJudge, Status, always

SHARED = len("group g")


def is_prime(asked: dict) -> bool:
    return bool(asked["max_tokens"] == 1)


def unless_prime(prime: Answer) -> Script:
    return lambda asked: prime if is_prime(asked) else Reply("1")


def primes(*judges: ScriptedJudge) -> list[dict]:
    return [asked for judge in judges for asked in judge.requests if is_prime(asked)]


def counted(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("citemark_primes_total", {"outcome": outcome}) or 0


async def group(pool, count: int = 8, affinity: str = "g", **fields) -> list[str]:
    asked = request(affinity, shared=SHARED, **fields)
    replies = await asyncio.gather(*(ask(pool, asked) for _ in range(count)))
    return [reply.content for reply in replies]


async def test_each_group_is_primed_once_and_before_its_first_call(start_judge):
    judge = await start_judge(unless_prime(Reply("x", "length", delay_s=0.05)))
    metrics = Metrics()
    async with pooled([judge], prime_wait_s=5, metrics=metrics) as pool:
        for affinity in "ggh":
            assert await group(pool, affinity=affinity) == ["1"] * 8
    calls = [is_prime(asked) for asked in judge.requests]
    assert calls == [True, *[False] * 16, True, *[False] * 8]
    assert counted(metrics, "primed") == 2


async def test_a_prime_is_the_shared_part_and_no_more(start_judge):
    judge = await start_judge(unless_prime(Reply("x")))
    async with pooled([judge], prime_wait_s=5) as pool:
        await group(pool, top_logprobs=8, temperature=0.3)
    (prime,) = primes(judge)
    assert [message["content"] for message in prime["messages"]] == ["Judge.", "group g"]
    assert prime["temperature"] == 0
    assert prime["continue_final_message"] is True  # closed, it would end past the shared part
    assert prime["add_generation_prompt"] is False
    others = [asked for asked in judge.requests if not is_prime(asked)]
    assert not any("continue_final_message" in asked for asked in others)
    assert not prime.keys() & {"structured_outputs", "response_format", "logprobs"}


async def test_each_server_is_primed_and_one_that_comes_back_anew(start_judge):
    judges = [await start_judge(unless_prime(Reply("x"))) for _ in range(2)]
    async with pooled(judges, prime_wait_s=5) as pool:
        await group(pool)
        home, other = sorted(judges, key=lambda judge: -len(judge.requests))
        await home.refuse()
        await group(pool)
        await home.listen()
        await other.refuse()
        await group(pool)
        await group(pool)
    assert (len(primes(home)), len(primes(other))) == (2, 1)


async def test_what_shares_nothing_is_neither_primed_nor_kept_waiting(start_judge):
    judge = await start_judge(unless_prime(Hang()))
    async with pooled([judge], prime_wait_s=60) as pool:
        waiting = asyncio.create_task(group(pool, 1))
        await judge.until(lambda: judge.calls == 1)
        assert (await ask(pool, request("g"))).content == "1"
        assert (await ask(pool, request(shared=5))).content == "1"
        waiting.cancel()
    assert len(primes(judge)) == 1


@pytest.mark.parametrize("answer", [Status(500), Status(400), Status(429), Reply(None)])
async def test_a_prime_that_fails_harms_nobody(start_judge, answer):
    judge = await start_judge(unless_prime(answer))
    metrics = Metrics()
    async with pooled([judge], prime_wait_s=5, metrics=metrics) as pool:
        assert await group(pool) == ["1"] * 8
    assert len(primes(judge)) == 1
    assert counted(metrics, "failed") == 1


async def test_the_wait_for_a_prime_is_bounded(start_judge):
    judge = await start_judge(unless_prime(Hang()))
    metrics = Metrics()
    async with pooled([judge], prime_wait_s=1.0, metrics=metrics) as pool:
        async with asyncio.timeout(60):
            assert await group(pool) == ["1"] * 8
    assert len(primes(judge)) == 1
    assert counted(metrics, "late") == 1
    await judge.until(lambda: judge.abandoned == 1)


async def test_a_caller_that_leaves_during_its_prime_lets_the_next_one_try(start_judge):
    judge = await start_judge(unless_prime(Hang()))
    async with pooled([judge], prime_wait_s=60) as pool:
        first = asyncio.create_task(group(pool, 1))
        await judge.until(lambda: judge.calls == 1)
        second = asyncio.create_task(group(pool, 1))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == ["1"]
        judge.script = unless_prime(Reply("x"))
        await group(pool, 1)
        await group(pool, 1)
    assert len(primes(judge)) == 2


async def test_who_makes_the_prime_pays_for_it(start_judge):
    judge = await start_judge(unless_prime(Reply("x", prompt_tokens=70)))
    async with pooled([judge], prime_wait_s=5) as pool:
        meters = [Meter() for _ in range(4)]
        asked = request("g", shared=SHARED)
        await asyncio.gather(*(ask(pool, asked, meter=meter) for meter in meters))
    assert sorted(meter.usage.calls for meter in meters) == [1, 1, 1, 2]
    assert sum(meter.usage.prompt_tokens for meter in meters) == 4 * 100 + 70


async def test_without_the_setting_nothing_is_primed(start_judge):
    judge = await start_judge(always(Reply("1")))
    async with pooled([judge]) as pool:
        await group(pool)
    assert len(judge.requests) == 8


async def test_the_samples_of_a_group_share_their_prime_and_their_citations_do_not(start_judge):
    hostile = "Is this an <answer-0> or an <answer>?"
    by_prompt = by_shape(V=1, S=1, U=1, C=1, F=1)
    judge = await start_judge(lambda asked: Reply("x") if is_prime(asked) else by_prompt(asked))
    async with pooled([judge], prime_wait_s=5) as pool:
        writer = PromptWriter(secret=b"s")
        language = LanguageJudge(
            pool, model="m", writer=writer, metrics=Metrics(), evidence_quotes=False
        )
        for number in range(4):
            response = RESPONSE.replace("48,000", f"{number}8,000")
            claims = claims_task(response, question=hostile)
            criteria = criteria_task(response, question=hostile)
            await language.judge_citations(claims, meter=Meter(), deadline=None)
            await language.judge_criteria(criteria, meter=Meter(), deadline=None)
    (prime,) = primes(judge)
    assert prime["messages"][-1]["content"].endswith("\n\n")
    after = [asked for asked in judge.requests if "<answer-" in asked["messages"][-1]["content"]]
    assert len(after) == 4
    for asked in after:
        assert asked["messages"][0] == prime["messages"][0]
        rest = asked["messages"][1]["content"].removeprefix(prime["messages"][1]["content"])
        assert rest.startswith("<answer-")


async def test_a_deadline_ends_the_wait_for_another_callers_prime(start_judge):
    judge = await start_judge(unless_prime(Hang()))
    async with pooled([judge], prime_wait_s=60) as pool:
        first = asyncio.create_task(group(pool, 1))
        await judge.until(lambda: judge.calls == 1)
        asked = request("g", shared=SHARED)
        async with asyncio.timeout(60):
            with pytest.raises(DeadlineExceeded):
                await ask(pool, asked, deadline=time.monotonic() + 0.05)
        first.cancel()
    assert judge.calls == 1
