"""Threads that callers share."""

import asyncio
import threading
from functools import partial

import pytest

from citemark_service.threads import FairThreads


async def test_a_caller_with_much_to_do_does_not_keep_another_waiting():
    threads, gate, order = FairThreads(), threading.Event(), list[str]()

    def work(name: str) -> None:
        gate.wait()
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in [*"a" * 20, "b"]:
            group.create_task(threads.run(name, partial(work, name)))
        await asyncio.sleep(0)
        gate.set()
    assert len(order) == 21
    assert order.index("b") < 8


async def test_a_caller_leaves_a_thread_to_the_others():
    threads, gate = FairThreads(), threading.Event()
    running = [asyncio.create_task(threads.run("a", gate.wait)) for _ in range(6)]
    await asyncio.sleep(0)
    assert await threads.run("b", lambda: "done") == "done"
    gate.set()
    assert await asyncio.gather(*running) == [True] * 6


@pytest.mark.parametrize("waiting", [False, True])
async def test_who_leaves_takes_no_seat_along(waiting):
    threads, gate = FairThreads(), threading.Event()
    running = [asyncio.create_task(threads.run("a", gate.wait)) for _ in range(6)]
    await asyncio.sleep(0)
    for task in running[3:] if waiting else running:
        task.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await threads.run("b", lambda: "done") == "done"
    await asyncio.gather(*running, return_exceptions=True)
    assert await asyncio.gather(*(threads.run("b", lambda: 1) for _ in range(9))) == [1] * 9
