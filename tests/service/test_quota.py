"""The bounded count behind every limit, and the bounded reads of pages."""

import asyncio
import threading
from contextlib import closing
from queue import SimpleQueue

import pytest

from citemark_service.errors import Overloaded
from citemark_service.web.admission import Quota, Reads


async def test_who_waits_is_served_in_order():
    quota = Quota(2, "things")
    quota.take(2)
    served: list[str] = []

    async def wait(name: str, count: int) -> None:
        await quota.wait(count)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(wait("large", 2))
        group.create_task(wait("small", 1))
        await asyncio.sleep(0)
        quota.give(1)
        await asyncio.sleep(0)
        assert served == []
        quota.give(1)
        await asyncio.sleep(0)
        assert served == ["large"]
        quota.give(2)
    assert served == ["large", "small"]
    assert quota.held == 1


@pytest.mark.parametrize("granted_first", [True, False])
async def test_who_stops_waiting_leaves_nothing_behind(granted_first):
    quota = Quota(1, "things")
    quota.take(1)
    leaving = asyncio.create_task(quota.wait(1))
    staying = asyncio.create_task(quota.wait(1))
    await asyncio.sleep(0)
    if granted_first:
        quota.give(1)
    leaving.cancel()
    if not granted_first:
        await asyncio.sleep(0)
        quota.give(1)
    await staying
    assert leaving.cancelled()
    assert quota.held == 1


async def test_pages_beyond_the_bound_are_refused_and_rewards_never_wait_for_them():
    free, begun = threading.Event(), SimpleQueue[int]()

    def slow() -> int:
        begun.put(1)
        free.wait(60)
        return 1

    with closing(Reads()) as reads:
        waiting = [asyncio.create_task(reads.run(slow)) for _ in range(18)]
        for _ in range(2):
            await asyncio.to_thread(begun.get, timeout=60)  # the loop is free meanwhile
        with pytest.raises(Overloaded):
            await reads.run(slow)
        assert begun.empty()
        free.set()
        assert sum(await asyncio.gather(*waiting)) == 18
        assert await reads.run(lambda: 7) == 7
