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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=24), st.integers(1, 8), st.integers(1, 8))
def test_a_sample_that_nobody_judged_has_no_advantage_and_moves_no_others(judged, refused, failed):
    known = [*judged, *[0.0] * refused]
    means = StandIns()
    for reward in known:
        means.add(b"q", reward)
    stand_in = means.mean_of(b"q")
    assert stand_in is not None
    baseline = fmean([*known, *[stand_in] * failed])
    assert stand_in == pytest.approx(baseline) == pytest.approx(fmean(known))
    assert means.mean_of(b"another") is None


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
    ("one", "other", "same"),
    [
        *(({}, change, False) for change in (
            {"question": "p"}, {"tool_output": "u"}, {"snippets": [{"id": "a", "text": "t"}]},
            {"positive_rubrics": ["x"]}, {"negative_rubrics": ["x"]}, {"rubrics": ["x"]},
            {"run": "another"}, {"group": "g"}, {"knobs": Knobs(verification_reward=10.0)})),
        *(({"group": "0"}, {"group": "0", **change}, False) for change in (
            {"question": "p"}, {"negative_rubrics": ["x"]})),
        *(({}, change, True) for change in (
            {"id": "1", "response": "x", "step": 3}, {"knobs": Knobs(citation_weight=0.2)})),
        ({"group": "g"}, {"group": "g", "tool_output": "what this sample's own tools said"}, True),
        ({"question": "\ud800"}, {"question": "\ud801"}, False),  # no encoding can carry these
    ],
)  # fmt: skip
def test_what_makes_another_prompt(one, other, same):
    assert (key(**one) == key(**other)) is same


def test_the_run_is_the_rollouts_own_or_the_requests():
    assert prompt_key(rollout(run="a"), Knobs(), "b") == key("a") != key("b")
