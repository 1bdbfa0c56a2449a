"""A training step through the real service while one of three servers is killed."""

import asyncio

from citemark_service.judges.server.server import name_servers
from support.step_rollouts import by_content, step


async def rewards(service, rollouts) -> list[float]:
    response = await service.client.post("/v1/score", json={"items": rollouts})
    assert response.status_code == 200
    items = response.json()["items"]
    assert [item["failure"] for item in items] == [None] * len(rollouts)
    return [item["reward"] for item in items]


async def test_killing_one_of_three_servers_in_mid_batch_loses_nothing(serve, start_judge):
    rollouts = step(32, 8)
    expected = await rewards(await serve([await start_judge(by_content())]), rollouts)
    assert len(set(expected)) > 20  # verdicts that differ, so that a mistake would show
    judges = [await start_judge(by_content(delay_s=0.05)) for _ in range(3)]
    service = await serve(judges, judge_concurrency=16)
    batch = asyncio.create_task(rewards(service, rollouts))
    killed = judges[0]
    await killed.until(lambda: killed.calls >= 40)
    await killed.refuse()
    assert not batch.done()
    assert await batch == expected

    (name,) = name_servers([killed.url])
    ready = await service.client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "down": [name]})
    assert service.value("judge_server_ejections_total", server=name) == 1
    before = killed.calls
    await killed.listen()
    async with asyncio.timeout(60):
        while (await service.client.get("/readyz")).json()["down"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # over HTTP there is nothing to wait on
    await rewards(service, step(32, 1, first=100))
    assert killed.calls > before


async def test_a_group_stays_together_through_the_whole_service(serve, start_judge):
    judges = [await start_judge(by_content(delay_s=0.005)) for _ in range(3)]
    service = await serve(judges)
    await rewards(service, step(16, 8))
    places = [
        {each["messages"][-1]["content"].partition("</question-")[0] for each in judge.requests}
        for judge in judges
    ]
    # Every group is on one server, or on two where it was handed on for balance; how many are
    # depends on the ports, which decide where groups belong. Without affinity it would be 48.
    assert sum(map(len, places)) <= 16 * 2
    assert sum(judge.calls for judge in judges) == 16 * 8 * 2


async def test_no_server_left_is_unready_and_says_so_of_each(serve, start_judge):
    judges = [await start_judge(by_content()) for _ in range(2)]
    service = await serve(judges)
    assert (await service.client.get("/readyz")).json() == {"status": "ready", "down": []}
    for judge in judges:
        await judge.refuse()
    async with asyncio.timeout(60):
        while (ready := await service.client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # over HTTP there is nothing to wait on
    message = ready.json()["message"]
    assert all(name in message for name in name_servers([judge.url for judge in judges]))
