"""What stands in for a reward that was not to be had."""

import asyncio
import time

import pytest

from citemark_grpo.errors import TimedOut
from citemark_grpo.outcome import Outcome
from citemark_grpo.standins import StandIns
from citemark_schemas import Rollout
from support.scripted_service import scored

LATER = time.monotonic() + 3600


def rollout(**more):
    return Rollout(**{"question": "q", "tool_output": "", "response": "r", **more})


def watched(stand_ins, asked):
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    stand_ins.watch(asked, outcome)
    return outcome


async def test_one_that_failed_first_waits_for_the_others_of_its_prompt():
    stand_ins = StandIns()
    failed, slow, other = (watched(stand_ins, rollout(question=name)) for name in ("q", "q", "p"))
    failed.set_result(TimedOut("scripted"))
    mean = asyncio.ensure_future(stand_ins.mean(rollout(), LATER))
    other.set_result(scored("p", 9.0))
    await asyncio.sleep(0.05)
    assert not mean.done()
    slow.set_result(scored("q", 4.0))
    assert await mean == 4.0


async def test_it_waits_no_longer_than_its_deadline():
    stand_ins = StandIns()
    slow = watched(stand_ins, rollout())
    assert await stand_ins.mean(rollout(), time.monotonic() + 0.05) is None
    slow.cancel()
    await asyncio.sleep(0)
    assert await stand_ins.mean(rollout(), LATER) is None


@pytest.mark.parametrize("end", ["cancelled", "broken"])
async def test_one_that_came_to_nothing_teaches_nothing(end):
    stand_ins = StandIns()
    outcome = watched(stand_ins, rollout())
    outcome.cancel() if end == "cancelled" else outcome.set_exception(ZeroDivisionError())
    await asyncio.sleep(0)
    assert await stand_ins.mean(rollout(), LATER) is None
    assert outcome.cancelled() or isinstance(outcome.exception(), ZeroDivisionError)


async def test_rewards_under_other_knobs_do_not_count():
    stand_ins = StandIns()
    watched(stand_ins, rollout(verification_reward=10.0)).set_result(scored("a", 10.0))
    watched(stand_ins, rollout()).set_result(scored("b", 0.5))
    await asyncio.sleep(0)
    assert await stand_ins.mean(rollout(), LATER) == 0.5
    assert await stand_ins.mean(rollout(verification_reward=10.0), LATER) == 10.0
