"""Slots under arrivals, ends, cancellations and deadlines in any order."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_service.errors import DeadlineExceeded, JudgeOverloaded
from citemark_service.judges.chat import ChatRequest
from citemark_service.judges.server.queue import Displaced, Slots


def turn(caller: str = "", affinity: str = "", priority: int = 0) -> ChatRequest:
    return ChatRequest((), None, 1, priority=priority, caller=caller, affinity=affinity)


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@dataclass
class Play:
    """Calls that hold a slot until they are told to end."""

    slots: Slots
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    ends: dict[int, asyncio.Event] = field(default_factory=dict)
    served: list[int] = field(default_factory=list)
    most: int = 0

    def arrive(self, asked: ChatRequest, deadline: float | None = None) -> int:
        number = len(self.tasks)
        self.ends[number] = asyncio.Event()
        self.tasks.append(asyncio.ensure_future(self._call(number, asked, deadline)))
        return number

    async def _call(self, number: int, asked: ChatRequest, deadline: float | None) -> None:
        await self.slots.acquire(asked, deadline)
        self.served.append(number)
        running = sum(n in self.served and not t.done() for n, t in enumerate(self.tasks))
        self.most = max(self.most, running)
        try:
            await self.ends[number].wait()
        finally:
            self.slots.release()

    async def finish(self) -> None:
        for end in self.ends.values():
            end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


STEPS = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from("ab"), st.sampled_from("xy")),
    st.tuples(st.just("late"), st.sampled_from("ab"), st.sampled_from("xy")),
    st.tuples(st.sampled_from(["cancel", "end"]), st.integers(0, 30), st.just("")),
    st.tuples(st.sampled_from(["settle", "tick", "displace"]), st.just(0), st.just("")),
)


async def step(play: Play, kind: str, which: object, affinity: str) -> None:
    if kind == "arrive":
        play.arrive(turn(str(which), affinity))
    elif kind == "late":
        play.arrive(turn(str(which), affinity), time.monotonic() + 0.0005)
    elif kind in ("cancel", "end") and play.tasks:
        number = int(str(which)) % len(play.tasks)
        play.tasks[number].cancel() if kind == "cancel" else play.ends[number].set()
    elif kind == "displace":
        play.slots.displace()
    elif kind == "tick":
        await asyncio.sleep(0)
    elif kind == "settle":
        await settle()


@settings(deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(1, 3))
def test_no_more_than_the_limit_run_nobody_is_forgotten_and_no_slot_is_freed_twice(steps, limit):
    async def scenario() -> None:
        play = Play(Slots(limit, 100))
        for kind, which, affinity in steps:
            await step(play, kind, which, affinity)
            assert 0 <= play.slots.in_flight <= limit
        await settle()
        # Whoever waits does so because all slots are taken: no wake-up was lost.
        assert play.slots.in_flight == limit or play.slots.waiting == 0
        async with asyncio.timeout(60):
            await play.finish()
        assert play.most <= limit
        assert (play.slots.in_flight, play.slots.waiting, play.slots.load) == (0, 0, 0)
        for number, task in enumerate(play.tasks):
            with suppress(asyncio.CancelledError, DeadlineExceeded, Displaced):
                await task
                assert number in play.served

    asyncio.run(scenario())


async def test_a_slot_handed_to_a_call_that_is_cancelled_in_the_same_turn_goes_to_the_next():
    play = Play(Slots(1, 100))
    await play.slots.acquire(turn(), None)
    first, second = play.arrive(turn()), play.arrive(turn())
    await settle()
    play.slots.release()
    play.tasks[first].cancel()
    await settle()
    assert play.served == [second]
    await play.finish()
    assert play.slots.load == 0


async def test_a_call_that_is_cancelled_in_the_turn_of_the_release_is_passed_over():
    play = Play(Slots(1, 100))
    await play.slots.acquire(turn(), None)
    first, second = play.arrive(turn()), play.arrive(turn())
    await settle()
    play.tasks[first].cancel()
    play.slots.release()
    await settle()
    assert play.served == [second]
    await play.finish()
    assert play.slots.load == 0


async def test_a_small_caller_is_served_between_the_calls_of_a_large_one():
    play = Play(Slots(2, 1000))
    for number in range(200):
        play.arrive(turn("large", f"g{number // 16}"))
    await settle()
    small = [play.arrive(turn("small", "s")) for _ in range(8)]
    await settle()
    for number in range(200):
        play.ends[number].set()
        play.ends[small[number % 8]].set()
        await settle()
        if set(small) <= set(play.served):
            break
    assert len(play.served) <= 2 + 2 * len(small) + 2
    await play.finish()


async def test_a_deadline_ends_the_wait_and_leaves_nothing_behind():
    slots = Slots(1, 100)
    await slots.acquire(turn(), None)
    with pytest.raises(DeadlineExceeded):
        await slots.acquire(turn(), time.monotonic() + 0.01)
    assert slots.waiting == 0
    with pytest.raises(DeadlineExceeded):
        await slots.acquire(turn(), time.monotonic() - 1)
    slots.release()
    assert slots.load == 0


async def test_beyond_its_bound_the_queue_refuses_and_says_when_to_return():
    play = Play(Slots(1, 2))
    for _ in range(3):
        play.arrive(turn())
    await settle()
    with pytest.raises(JudgeOverloaded) as refused:
        await play.slots.acquire(turn(), None)
    assert refused.value.retry_after_s is not None
    assert play.slots.load == 3
    await play.finish()
    await play.slots.acquire(turn(), None)


async def test_who_waits_for_a_server_that_goes_away_is_told_and_who_is_served_is_not():
    play = Play(Slots(1, 100))
    for _ in range(3):
        play.arrive(turn())
    await settle()
    play.slots.displace()
    await settle()
    assert [task.done() for task in play.tasks] == [False, True, True]
    assert all(isinstance(task.exception(), Displaced) for task in play.tasks[1:])
    await play.finish()
    assert play.slots.load == 0
