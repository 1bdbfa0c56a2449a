"""What stands in for a failed judgement, and the answers that nobody fetched."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Knobs, Rollout
from citemark_schemas.means import prompt_key
from citemark_service.errors import ShuttingDown
from citemark_service.web.dialects.standins import StandIns
from citemark_service.web.dialects.unclaimed import Answer, Unclaimed
from support.step_rollouts import rollout

KNOBS = Knobs()


def prompt(group: int, knobs: Knobs = KNOBS) -> bytes:
    return prompt_key(Rollout.model_validate(rollout(group, 0)), knobs)


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


rewards = st.floats(min_value=-10, max_value=10)


@given(st.lists(st.tuples(st.integers(0, 3), rewards), max_size=80))
async def test_a_stand_in_is_among_its_prompts_rewards(drawn):
    standins = StandIns(constant=-1.0)
    for group, reward in drawn:
        standins.add(prompt(group), reward)
    for group in range(4):
        own = [reward for drawn_group, reward in drawn if drawn_group == group]
        found = await standins.reward(prompt(group), soon())
        assert type(found) is float
        if own:
            assert min(own) - 1e-9 <= found <= max(own) + 1e-9
        else:
            assert found == -1.0


@given(st.lists(rewards, min_size=1, max_size=30))
async def test_of_few_rewards_it_is_the_mean(drawn):
    standins = StandIns(constant=0.0)
    for reward in drawn:
        standins.add(prompt(0), reward)
    found = await standins.reward(prompt(0), soon())
    assert found == pytest.approx(sum(drawn) / len(drawn), abs=1e-9)


async def test_rewards_under_other_knobs_do_not_count():
    standins = StandIns(constant=0.0)
    standins.add(prompt(0, Knobs(verification_reward=10)), 10.0)
    assert await standins.reward(prompt(0), soon()) == 0.0


async def test_a_failed_sample_waits_for_the_judging_of_its_siblings():
    standins, gate = StandIns(constant=0.0), asyncio.Event()

    async def judged() -> None:
        with standins.judging(prompt(0)):
            await gate.wait()
            standins.add(prompt(0), 0.75)

    sibling = asyncio.create_task(judged())
    await asyncio.sleep(0)
    failed = asyncio.create_task(standins.reward(prompt(0), soon()))
    elsewhere = await standins.reward(prompt(1), soon())
    assert (elsewhere, failed.done()) == (0.0, False)
    gate.set()
    assert await failed == 0.75
    await sibling


async def test_it_waits_no_longer_than_its_deadline():
    standins = StandIns(constant=0.5)
    with standins.judging(prompt(0)):
        assert await standins.reward(prompt(0), soon(0.05)) == 0.5
        assert await standins.reward(prompt(0), soon(-1)) == 0.5


async def test_samples_that_all_failed_do_not_wait_for_each_other():
    standins = StandIns(constant=0.25)

    async def failing(number: int) -> float:
        with standins.judging(prompt(0)):
            await asyncio.sleep(0.01 * number)
        return await standins.reward(prompt(0), soon())

    assert await asyncio.gather(*map(failing, range(4))) == [0.25] * 4


def answering(body: bytes = b"{}", *, whole: bool = True) -> asyncio.Task[Answer]:
    async def work() -> Answer:
        await asyncio.sleep(0)
        return Answer(body, whole)

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
    async def stopped() -> Answer:
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
