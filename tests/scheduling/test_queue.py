"""Whose turn it is, and slots under arrivals, ends, cancellations and deadlines in any order."""

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import DeadlineExceeded, JudgeOverloaded
from citemark_service.judges.chat import ChatRequest
from citemark_service.judges.server.queue import RUN, Displaced, Slots, WaitingLine


def turn(caller: str = "", affinity: str = "", priority: int = 0) -> ChatRequest:
    return ChatRequest((), None, 1, priority=priority, caller=caller, affinity=affinity)


class Call(NamedTuple):
    priority: int
    caller: str
    affinity: str
    number: int

    @property
    def request(self) -> ChatRequest:
        return turn(self.caller, self.affinity, self.priority)


def lined_up(calls: list[Call]) -> WaitingLine[Call]:
    line: WaitingLine[Call] = WaitingLine()
    for call in calls:
        line.push(call.request, call)
    return line


def drained(line: WaitingLine[Call]) -> list[Call]:
    return [line.pop() for _ in range(line.size)]


CALLS = st.builds(
    Call,
    st.sampled_from([0, 10]),
    st.sampled_from("ab"),
    st.sampled_from("xyz"),
    st.integers(0, 10**9),
)


@pytest.mark.parametrize("callers", ["a", "ab"])
def test_a_group_travels_together_in_order_of_arrival_and_callers_take_turns(callers):
    calls = [Call(0, caller, f"g{n % 4}", n) for n in range(32) for caller in callers]
    order = drained(lined_up(calls))
    assert [call.caller for call in order] == [*callers] * 32
    for caller in callers:
        own = [call for call in order if call.caller == caller]
        assert [key for key, _ in groupby(own, lambda c: c.affinity)] == ["g0", "g1", "g2", "g3"]
        assert own == sorted(own, key=lambda c: (c.number % 4, c.number))


def test_a_group_that_never_ends_does_not_keep_out_the_next():
    line = lined_up([Call(0, "a", "endless", 0), Call(0, "a", "next", 1)])
    for number in range(2, RUN + 2):
        call = Call(0, "a", "endless", number)
        line.push(call.request, call)
        assert line.pop().affinity == "endless"
    assert line.pop().affinity == "next"


@given(st.lists(CALLS, unique=True), st.data())
def test_each_comes_out_once_unless_it_was_taken_out(calls, data):
    line = lined_up(calls)
    gone = data.draw(st.lists(st.sampled_from(calls)) if calls else st.just([]))
    for call in gone:
        line.discard(call.request, call)  # a second time too, which does nothing
    assert Counter(drained(line)) == Counter(set(calls) - set(gone))
    assert vars(line) == vars(WaitingLine())


@given(st.lists(CALLS, unique=True))
def test_no_call_is_overtaken_within_its_group_and_priorities_are_strict(calls):
    order = drained(lined_up(calls))
    assert [c.priority for c in order] == sorted(c.priority for c in calls)
    expected, got = defaultdict(list), defaultdict(list)
    for call in calls:
        expected[call[:3]].append(call)
    for call in order:
        got[call[:3]].append(call)
    assert expected == got


@given(st.lists(CALLS, unique=True, min_size=1))
def test_callers_of_one_priority_are_never_more_than_one_call_apart(calls):
    left, served = Counter(c[:2] for c in calls), Counter[tuple[int, str]]()
    for call in drained(lined_up(calls)):
        served[call[:2]] += 1
        left[call[:2]] -= 1
        others = [who for who, count in left.items() if count and who[0] == call.priority]
        assert all(served[call[:2]] - served[who] <= 1 for who in others)


async def settle(turns: int = 4) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass
class Play:
    """Calls that hold a slot until they are told to end."""

    slots: Slots
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    ends: list[asyncio.Event] = field(default_factory=list)
    served: list[int] = field(default_factory=list)
    most: int = 0

    def arrive(self, asked: ChatRequest, deadline: float | None = None) -> None:
        self.ends.append(asyncio.Event())
        self.tasks.append(asyncio.ensure_future(self._call(len(self.tasks), asked, deadline)))

    async def _call(self, number: int, asked: ChatRequest, deadline: float | None) -> None:
        await self.slots.acquire(asked, deadline)
        self.served.append(number)
        running = sum(n in self.served and not t.done() for n, t in enumerate(self.tasks))
        self.most = max(self.most, running)
        try:
            await self.ends[number].wait()
        finally:
            self.slots.release()

    async def step(self, kind: str, which: int, asked: ChatRequest) -> None:
        if kind in ("arrive", "late"):
            self.arrive(asked, time.monotonic() + 0.0005 if kind == "late" else None)
        elif kind == "cancel" and self.tasks:
            self.tasks[which % len(self.tasks)].cancel()
        elif kind == "end" and self.tasks:
            self.ends[which % len(self.tasks)].set()
        elif kind == "displace":
            self.slots.displace()
        else:
            await settle(turns=1 if kind == "tick" else 4)

    async def finish(self) -> None:
        for end in self.ends:
            end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        assert (self.slots.in_flight, self.slots.waiting, self.slots.load) == (0, 0, 0)


KINDS = st.sampled_from(["arrive", "late", "cancel", "end", "displace", "tick", "settle"])
TURNS = st.builds(turn, st.sampled_from("ab"), st.sampled_from("xy"))


@given(st.lists(st.tuples(KINDS, st.integers(0, 30), TURNS), max_size=40), st.integers(1, 3))
def test_no_more_than_the_limit_run_nobody_is_forgotten_and_no_slot_is_freed_twice(steps, limit):
    async def scenario() -> None:
        play = Play(Slots(limit, 100))
        for step in steps:
            await play.step(*step)
            assert 0 <= play.slots.in_flight <= limit
        await settle()
        # Whoever waits does so because all slots are taken: no wake-up was lost.
        assert play.slots.in_flight == limit or play.slots.waiting == 0
        async with asyncio.timeout(60):
            await play.finish()
        assert play.most <= limit
        for number, task in enumerate(play.tasks):
            with suppress(asyncio.CancelledError, DeadlineExceeded, Displaced):
                await task
                assert number in play.served

    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_call_that_is_cancelled_in_the_turn_of_the_release_is_passed_over(cancelled_first):
    play = Play(Slots(1, 100))
    await play.slots.acquire(turn(), None)
    for _ in range(2):
        play.arrive(turn())
    await settle()
    if cancelled_first:
        play.tasks[0].cancel()
    play.slots.release()
    play.tasks[0].cancel()  # the second time does nothing
    await settle()
    assert play.served == [1]
    await play.finish()


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
