"""What stands in for a reward that could not be had."""

import asyncio
import time
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Knobs, Rollout
from citemark_schemas.means import StandIns, prompt_key

KNOBS = Knobs()


def rollout(**more):
    return Rollout(**{"question": "q", "tool_output": "t", "response": "r", **more})


def key(run=None, knobs=KNOBS, **more):
    return prompt_key(rollout(**more), knobs, run)


def test_nothing_is_known_of_a_prompt_before_its_first_reward():
    means = StandIns()
    means.add(b"other", 1.0)
    assert means.mean_of(b"q") is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=24), st.integers(1, 8), st.integers(1, 8))
def test_a_sample_that_nobody_judged_has_no_advantage_and_moves_no_others(judged, refused, failed):
    known = [*judged, *[0.0] * refused]
    means = StandIns()
    for reward in known:
        means.add(b"q", reward)
    stand_in = means.mean_of(b"q")
    assert stand_in is not None
    assert stand_in == pytest.approx(fmean(known))
    baseline = fmean([*known, *[stand_in] * failed])
    assert stand_in == pytest.approx(baseline)
    assert baseline == pytest.approx(fmean(known))


def soon(seconds=10.0):
    return time.monotonic() + seconds


async def test_a_failed_sample_waits_for_the_judging_of_its_siblings():
    means = StandIns()
    for prompt in (b"q", b"q", b"p"):
        means.begin(prompt)
    means.end(b"q", None)
    failed = asyncio.create_task(means.await_mean(b"q", soon()))
    means.end(b"p", 9.0)
    elsewhere = await means.await_mean(b"p", soon())
    await asyncio.sleep(0)
    assert (elsewhere, failed.done()) == (9.0, False)
    means.end(b"q", 0.75)
    assert await failed == 0.75


async def test_it_waits_no_longer_than_its_deadline():
    means = StandIns()
    means.add(b"q", 0.5)
    means.begin(b"q")
    assert await means.await_mean(b"q", soon(0.05)) == 0.5
    assert await means.await_mean(b"q", soon(-1)) == 0.5


async def test_samples_that_all_failed_do_not_wait_for_each_other():
    means = StandIns()

    async def fail(number):
        means.begin(b"q")
        await asyncio.sleep(0.01 * number)
        means.end(b"q", None)
        return await means.await_mean(b"q", soon())

    assert await asyncio.gather(*map(fail, range(4))) == [None] * 4


def test_an_old_policys_rewards_fade():
    means = StandIns()
    for reward in [0.0] * 100 + [1.0] * 100:
        means.add(b"q", reward)
    assert means.mean_of(b"q") == pytest.approx(1.0, abs=0.05)


def test_the_prompt_that_got_no_reward_for_longest_is_forgotten():
    means = StandIns(most=2)
    for prompt in (b"a", b"b", b"a", b"c"):
        means.add(prompt, 1.0)
    assert [means.mean_of(prompt) for prompt in (b"a", b"b", b"c")] == [1.0, None, 1.0]


@pytest.mark.parametrize(
    "change",
    [{"question": "p"}, {"tool_output": "u"}, {"snippets": [{"id": "a", "text": "t"}]},
     {"positive_rubrics": ["x"]}, {"negative_rubrics": ["x"]}, {"rubrics": ["x"]},
     {"run": "another"}, {"group": "g"}, {"knobs": Knobs(verification_reward=10.0)}],
)  # fmt: skip
def test_what_makes_another_prompt(change):
    assert key(**change) != key()


def test_a_text_that_no_encoding_can_carry_has_a_key_too():
    assert key(question="\ud800") != key(question="\ud801")


def test_what_makes_no_other_prompt():
    assert prompt_key(rollout(id="1", response="x", step=3), Knobs()) == key()
    assert key(group="g", tool_output="what this sample's own tools said") == key(group="g")
    assert key(knobs=Knobs(citation_weight=0.2)) == key()


def test_the_run_is_the_rollouts_own_or_the_requests():
    assert prompt_key(rollout(run="a"), Knobs(), "b") == key("a") != key("b")
