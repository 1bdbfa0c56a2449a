"""Bounds of the answers that nobody fetched."""

import asyncio

from citemark_service.trainers.engine import RouteAnswer
from citemark_service.web.routes.trainers import Unclaimed


async def leave(unclaimed: Unclaimed, key: bytes, size: int = 2) -> None:
    async def work() -> RouteAnswer:
        return RouteAnswer(b"x" * size, whole=True)

    task = asyncio.create_task(work())
    unclaimed.leave(key, task)
    await task
    await asyncio.sleep(0)  # for the callback


async def test_they_are_bounded_by_number_and_by_bytes():
    unclaimed = Unclaimed(entries=3, max_bytes=100)
    for number in range(10):
        await leave(unclaimed, b"%d" % number)
    assert len(unclaimed) == 3
    assert unclaimed.claim(b"9") is not None
    for number in range(3):
        await leave(unclaimed, b"big%d" % number, 60)
    assert len(unclaimed) == 1
    assert unclaimed.claim(b"big2") is not None
    assert unclaimed.claim(b"big2") is None
    await leave(unclaimed, b"small", 99)
    assert len(unclaimed) == 1
