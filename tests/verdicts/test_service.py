"""The real service before a scripted judge: what is asked once, and what leaving it does."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from support.in_process_judges import GatedJudge
from support.judge_tasks import by_shape, filled, shape_of
from support.judged_service import asked_service
from support.readable_metrics import ReadableMetrics
from support.scripted_judge import Answer, Hang, Reply, Status
from support.waiting import until

ROLLOUT = {
    "question": "When did the Alder viaduct open, and what did it cost?",
    "tool_output": "<snippet id=S_1>It opened in 1871.</snippet><snippet id=S_2>48,000.</snippet>",
    "response": "<answer><snippet id=S_1>It opened in 1871.</snippet>"
    " <snippet id=S_2,S_1>It cost 48,000 pounds.</snippet></answer>",
    "positive_rubrics": ["Gives the year", "Gives the cost"],
}
GOOD = by_shape(V=2, S=2, U=1, C=1)


async def post(client: httpx.AsyncClient, **changes: Any) -> Any:
    response = await client.post("/v1/score", json={**ROLLOUT, **changes})
    assert response.status_code == 200
    return response.json()


async def give_up(client: httpx.AsyncClient, reached: Callable[[], object], **changes: Any) -> None:
    """Post, and close the connection when the request has come so far."""
    posting = asyncio.create_task(client.post("/v1/score", json={**ROLLOUT, **changes}))
    await until(reached)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)


def slow(seconds: float):
    return lambda request: Reply(filled(shape_of(request), V=2, S=2, U=1, C=1), delay_s=seconds)


async def test_reposts_join_the_judgement_that_is_under_way():
    judge, metrics = GatedJudge(), ReadableMetrics()
    asked = {"question": "wait", "response": str(ROLLOUT["response"]).replace("S_2,S_1", "S_2")}
    posts = partial(metrics.sample, "inflight_requests")

    async with asked_service(in_process=judge, metrics=metrics) as client:
        for _ in range(3):
            await give_up(client, lambda: posts() and judge.started, **asked)
            await until(lambda: not posts())
        last = asyncio.create_task(post(client, **asked))
        await until(posts)
        judge.gate.set()
        result = await last
    assert result["reward"] > 0
    assert judge.started == ["wait"]
    assert judge.cancelled == []


async def test_a_client_that_comes_back_after_the_verdict_finds_it(start_judge):
    judge = await start_judge(slow(0.5))
    async with asked_service(judge) as client:
        await give_up(client, lambda: judge.calls == 2)
        await until(lambda: judge.in_flight == 0)
        result = await post(client)
    assert (judge.calls, judge.abandoned) == (2, 0)
    assert (result["cached"], result["judge"]["calls"]) == (True, 0)


@pytest.mark.parametrize("linger_s", [0.0, 1.0])
async def test_a_client_that_stays_away_frees_the_judge_after_the_linger(start_judge, linger_s):
    hanging = [True]
    judge = await start_judge(lambda r: Hang() if hanging else GOOD(r))
    async with asked_service(judge, judge_linger_s=linger_s) as client:
        start = asyncio.get_running_loop().time()
        await give_up(client, lambda: judge.calls == 2)
        await until(lambda: judge.abandoned == 2)
        assert asyncio.get_running_loop().time() - start > linger_s
        assert judge.calls == 2
        hanging.clear()
        assert (await post(client))["reward"] == pytest.approx(0.8)
    assert judge.calls == 4


async def test_a_stopping_service_leaves_no_call_behind(start_judge):
    judge = await start_judge(lambda _: Hang())
    async with asked_service(judge, judge_linger_s=60) as client:
        await give_up(client, lambda: judge.calls == 2)
        assert judge.in_flight == 2
    await until(lambda: judge.abandoned == 2)


async def test_knobs_weights_and_ids_cost_no_call(start_judge):
    judge = await start_judge(by_shape(V=1, S=2, U=1, C=1))
    weighted = [{"description": text, "weight": 3} for text in ROLLOUT["positive_rubrics"]]
    async with asked_service(judge) as client:
        first = await post(client)
        assert (first["cached"], first["judge"]["calls"], judge.calls) == (False, 2, 2)
        changed = [
            await post(client, citation_weight=0.5),
            await post(client, id="another"),
            await post(client, positive_rubrics=weighted[::-1]),
            await post(client, apply_citation_reward=False),
        ]
    assert judge.calls == 2
    assert all(result["cached"] for result in changed)
    assert {result["judge"]["calls"] for result in changed} == {0}
    assert changed[0]["reward"] == pytest.approx(first["reward"] + 0.3 * first["citation"]["f1"])


async def test_a_claim_said_again_elsewhere_costs_no_call(start_judge):
    judge = await start_judge(GOOD)
    said = "<answer>\n<snippet id=p7>It opened in 1871.</snippet></answer>"
    async with asked_service(judge) as client:
        await post(client)
        result = await post(
            client, response=said, tool_output="<snippet id=p7>It opened in 1871.</snippet>"
        )
    assert result["citation"]["f1"] == pytest.approx(1.0)
    assert result["claims"][0]["contributing"] == {"p7": 1.0}
    assert result["judge"]["calls"] == 1  # for the criteria, since the answer is another
    assert not result["cached"]


DULL = "The members went to see the bridge and thought that it was there. "
FACT = "The members thought that it was the bridge."
PAGES = "".join(f"<snippet id=S{n}>{DULL * 37}{FACT}{DULL * 37}</snippet>" for n in range(30))
RARE = [" ".join(f"word{n}x{m}" for m in range(10)) for n in range(30)]
SAID = "".join(f"{word}. {DULL * 3}" for words in RARE for word in words.split())
PAGE = f"<snippet id=S0>{DULL * 10}{FACT} {DULL * 20}{SAID}</snippet>"


def cite(*claims: tuple[str, int]) -> str:
    return "".join(f"<snippet id=S{source}>{text}</snippet>" for text, source in claims)


def reading(request: Any) -> Answer:
    """A claim is supported where the source that it cites is seen to say it, word for word."""
    prompt = request["messages"][-1]["content"]
    sources = dict(re.findall(r"<source (\w+)>\n(.*)", prompt))
    claims = re.findall(r"^(\d+)\. <cite (\w+)>(.*)</cite>$", prompt, re.MULTILINE)
    verdicts = ",".join(f'"{n}":"{2 * (text in sources[i])}1"' for n, i, text in claims)
    return Reply(f"{{{verdicts}}}") if claims else GOOD(request)


@pytest.mark.parametrize(
    ("tool_output", "others", "calls"),
    [(PAGES, [(f"{n} {'' if n % 2 else FACT}", n) for n in range(1, 30)], 6),
     (PAGE, [(words, 0) for words in RARE], 2)],
    ids=["cites thirty sources", "cites one for much else"],
)  # fmt: skip
async def test_a_sibling_that_cites_more_changes_no_verdict(
    start_judge, tool_output, others, calls
):
    judge = await start_judge(reading)
    one = {"tool_output": tool_output, "response": f"<answer>{cite((FACT, 0))}</answer>"}
    async with asked_service(judge) as client:
        alone = await post(client, **one)
    judge.requests.clear()
    async with asked_service(judge) as client:
        said = "<answer>" + cite(*others[:7], (FACT, 0), *others[7:]) + "</answer>"
        sibling = await post(client, tool_output=tool_output, response=said)
        assert len(judge.requests) == sibling["judge"]["calls"] == calls
        after = await post(client, **one)
    assert alone["reward"] == after["reward"]
    assert alone["citation"]["f1"] == after["citation"]["f1"] == 1.0
    if calls == 6:
        supports = [claim["support"] for claim in sibling["claims"]]
        assert supports == [0.0] * 7 + [1.0] + [0.0] * 22


async def test_who_joins_a_judgement_with_less_time_fails_alone(start_judge):
    hanging: list[bool] = []
    judge = await start_judge(lambda r: Hang() if hanging else GOOD(r))
    known = {**ROLLOUT, "question": "When did it open?"}
    async with asked_service(judge) as client:
        await post(client, question=known["question"])
        hanging.append(True)
        first = asyncio.create_task(client.post("/v1/score", json=ROLLOUT))
        await until(lambda: judge.in_flight == 2)
        refused = {**ROLLOUT, "response": "<answer></answer>"}
        body = {"items": [known, ROLLOUT, refused, known], "deadline_s": 2.0}
        posts = [client.post("/v1/score", json=body) for _ in range(30)]
        responses = await asyncio.gather(*posts)
        assert judge.in_flight == 2
        first.cancel()
    for response in responses:
        assert response.status_code == 200
        results = response.json()["items"]
        rewards = [result["reward"] for result in results]
        assert rewards == [pytest.approx(0.8), None, 0.0, pytest.approx(0.8)]
        assert results[1]["failure"]["kind"] == "deadline_exceeded"
    assert judge.calls == 4


async def test_a_failure_is_not_kept(start_judge):
    broken = [True]
    judge = await start_judge(lambda r: Status(500) if broken else GOOD(r))
    async with asked_service(judge, judge_attempts=1) as client:
        assert (await post(client))["failure"]["kind"] == "judge_server_error"
        broken.clear()
        result = await post(client)
    assert result["failure"] is None
    assert not result["cached"]


async def test_a_store_outlives_the_service_and_another_prompt_is_another_judge(start_judge, url):
    judge = await start_judge(GOOD)
    rewards = []
    other_prompts = (({"criteria_per_call": 6}, False, 4), ({"evidence_quotes": True}, False, 6))
    for changes, cached, calls in (({}, False, 2), ({}, True, 2), *other_prompts):
        async with asked_service(judge, verdict_cache=url, **changes) as client:
            result = await post(client)
        assert (result["cached"], judge.calls) == (cached, calls)
        rewards.append(result["reward"])
    assert rewards[0] == rewards[1]


async def test_redis_dies_in_the_middle_of_a_batch(start_judge, redis_server, log):
    judge = await start_judge(slow(0.1))
    items = [{**ROLLOUT, "question": f"{ROLLOUT['question']} {n}"} for n in range(40)]
    async with asked_service(judge, metrics=log, verdict_cache=redis_server.url) as client:
        running = asyncio.create_task(client.post("/v1/score", json={"items": items}))
        await until(lambda: judge.calls > 10)
        redis_server.kill()
        results = (await running).json()["items"]
    assert [result["reward"] for result in results] == pytest.approx([0.8] * 40)
    assert judge.calls == 80
    assert any(log.errors.values())


async def test_equal_rollouts_are_judged_once_and_metrics_tell_where_verdicts_came_from(
    start_judge, log
):
    judge = await start_judge(slow(0.3))
    async with asked_service(judge, metrics=log) as client:
        one, other = (await client.post("/v1/score", json={"items": 2 * [ROLLOUT]})).json()["items"]
        assert one["reward"] == other["reward"] == (await post(client))["reward"]
    assert not one["cached"]
    assert not other["cached"]
    assert judge.calls == 2
    assert log.origins == {"judge": 7, "joined": 7, "cache": 7}
    assert log.sample("cache_entries") == 7
    assert not any(log.errors.values())
