"""The whole service while servers are killed, and when asked for more than its judge takes."""

import asyncio
from typing import Any

import httpx
import pytest

from citemark_service.judges.server.server import name_servers
from support.judged_service import asked_service
from support.readable_metrics import ReadableMetrics
from support.scripted_judge import Hang, always
from support.step_rollouts import by_content, rollout, step
from support.waiting import until


def load(metrics: ReadableMetrics, name: str) -> float:
    return metrics.total(f"judge_server_{name}")


def post(client, rollouts, *, caller: str = "", **options) -> asyncio.Task[httpx.Response]:
    headers = {"X-Citemark-Caller": caller} if caller else {}
    body = {"items": rollouts, **options}
    return asyncio.create_task(client.post("/v1/score", json=body, headers=headers))


async def test_a_flood_is_refused_at_the_door_and_the_queue_stays_bounded(start_judge):
    judge, metrics = await start_judge(always(Hang())), ReadableMetrics()
    bounds: dict[str, Any] = {"max_inflight": 16, "judge_concurrency": 4, "judge_linger_s": 0}
    most = 0.0
    async with asked_service(judge, metrics=metrics, **bounds) as client:
        held = [post(client, [rollout(number, 0)]) for number in range(16)]
        await until(lambda: metrics.sample("inflight_rollouts") == 16)
        for wave in range(10):
            refused = await asyncio.gather(*(post(client, [rollout(wave, n)]) for n in range(40)))
            assert {answer.status_code for answer in refused} == {429}
            assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
            most = max(most, load(metrics, "waiting"))
        assert load(metrics, "in_flight") == 4
        assert most == 16 * 2 - 4
        assert not any(task.done() for task in held)
        for task in held:
            task.cancel()
        await until(lambda: load(metrics, "waiting") == load(metrics, "in_flight") == 0)


@pytest.mark.parametrize("first", [{"caller": "large"}, {"priority": "audit"}])
async def test_neither_a_small_caller_nor_training_waits_for_what_came_first(start_judge, first):
    judge, metrics = await start_judge(by_content(delay_s=0.01)), ReadableMetrics()
    async with asked_service(judge, metrics=metrics, judge_concurrency=2) as client:
        large = post(client, step(16, 8), **first)
        await until(lambda: load(metrics, "waiting") > 100)
        assert (await post(client, step(1, 8, first=50), caller="small")).status_code == 200
        assert not large.done()
        assert (await large).status_code == 200
    assert not any("priority" in request for request in judge.requests)


async def test_priorities_are_sent_to_servers_that_schedule_by_them(start_judge):
    judge = await start_judge(by_content())
    async with asked_service(judge, judge_priority_scheduling=True) as client:
        await post(client, [rollout(1, 1)], priority="audit")
        assert [request["priority"] for request in judge.requests] == [10, 10]
        await post(client, [rollout(2, 1)])
    assert [request.get("priority", 0) for request in judge.requests[2:]] == [0, 0]


async def rewards(client, rollouts) -> list[float]:
    response = await post(client, rollouts)
    assert response.status_code == 200
    items = response.json()["items"]
    assert [item["failure"] for item in items] == [None] * len(rollouts)
    return [item["reward"] for item in items]


async def test_killing_one_of_three_servers_in_mid_batch_loses_nothing(start_judge):
    rollouts = step(32, 8)
    async with asked_service(await start_judge(by_content())) as client:
        expected = await rewards(client, rollouts)
    assert len(set(expected)) > 20  # verdicts that differ, so that a mistake would show
    judges = [await start_judge(by_content(delay_s=0.05)) for _ in range(3)]
    killed, metrics = judges[0], ReadableMetrics()
    (name,) = name_servers([killed.url])
    async with asked_service(*judges, metrics=metrics, judge_concurrency=16) as client:
        batch = asyncio.create_task(rewards(client, rollouts))
        await killed.until(lambda: killed.calls >= 40)
        await killed.refuse()
        assert not batch.done()
        assert await batch == expected

        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "down": [name]})
        assert metrics.sample("judge_server_ejections_total", server=name) == 1
        before = killed.calls
        await killed.listen()
        await until(lambda: metrics.sample("judge_server_up", server=name))
        await rewards(client, step(32, 1, first=100))
    assert killed.calls > before


async def test_no_server_left_is_unready_and_says_so_of_each(start_judge):
    judges = [await start_judge(by_content()) for _ in range(2)]
    async with asked_service(*judges) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "down": []}
        for judge in judges:
            await judge.refuse()
        async with asyncio.timeout(60):
            while (ready := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # over HTTP there is nothing to wait on
    message = ready.json()["message"]
    assert all(name in message for name in name_servers([judge.url for judge in judges]))
