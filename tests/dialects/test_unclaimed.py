"""Answers that nobody fetched."""

import asyncio

from citemark_service.errors import ShuttingDown
from citemark_service.trainers.engine import RouteAnswer
from citemark_service.web.routes.trainers import Unclaimed


def answering(body: bytes = b"{}", *, whole: bool = True) -> asyncio.Task[RouteAnswer]:
    async def work() -> RouteAnswer:
        await asyncio.sleep(0)
        return RouteAnswer(body, whole)

    return asyncio.create_task(work())


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_what_was_left_is_claimed_once():
    unclaimed, work = Unclaimed(), answering()
    unclaimed.leave(b"a", work)
    assert unclaimed.claim(b"b") is None
    assert unclaimed.claim(b"a") is work
    assert unclaimed.claim(b"a") is None
    await work
    unclaimed.leave(b"a", work)
    assert unclaimed.claim(b"a") is work


async def test_what_failed_is_not_kept():
    async def stopped() -> RouteAnswer:
        raise ShuttingDown("stopping")

    unclaimed = Unclaimed()
    unclaimed.leave(b"a", answering(whole=False))
    unclaimed.leave(b"b", asyncio.create_task(stopped()))
    unclaimed.leave(b"c", answering())
    await settle()
    assert [unclaimed.claim(key) is None for key in (b"a", b"b", b"c")] == [True, True, False]


async def test_it_is_bounded_by_number_and_by_bytes():
    unclaimed = Unclaimed(entries=3, max_bytes=100)
    for number in range(10):
        unclaimed.leave(b"%d" % number, answering())
    await settle()
    assert len(unclaimed) == 3
    assert unclaimed.claim(b"9") is not None
    for number in range(3):
        unclaimed.leave(b"big%d" % number, answering(b"x" * 60))
    await settle()
    assert len(unclaimed) == 1
    assert unclaimed.claim(b"big2") is not None
    unclaimed.leave(b"small", answering(b"x" * 99))
    await settle()
    assert len(unclaimed) == 1
