"""One judgement for all who wait: who is billed, who fails, and when it ends."""

import asyncio
import time
from dataclasses import replace

import pytest

from citemark_schemas import Criterion
from citemark_service.errors import DeadlineExceeded, JudgeRejected, JudgeStopped
from citemark_service.judges.tasks import Meter, Origin
from support.in_process_judges import CountingJudge
from support.judge_tasks import CRITERIA, criteria_task

PLAIN = criteria_task()
LONGER = criteria_task(criteria=(*CRITERIA, Criterion(title="P", description="poison")))
AUDIT = replace(PLAIN, origin=Origin("audit", 10))


@pytest.fixture
def judge():
    judge = CountingJudge()
    judge.gate = asyncio.Event()
    return judge


def asking(cached, task=PLAIN, *, meter=None, deadline=None):
    return asyncio.create_task(
        cached.judge_criteria(task, meter=meter or Meter(), deadline=deadline)
    )


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def ask_and_leave(cached):
    """Ask, and be gone once the judge has been asked."""
    first = asking(cached)
    await turns()
    first.cancel()
    await turns()


async def test_one_deadline_fails_nobody_else(judge, remember):
    cached = remember(judge, judge_deadline_s=50)
    hasty = asking(cached, deadline=time.monotonic() + 0.05)
    patient = asking(cached, deadline=time.monotonic() + 40)
    late = asking(cached, deadline=time.monotonic() - 1)
    for each in (hasty, late):
        with pytest.raises(DeadlineExceeded):
            await each
    judge.gate.set()
    assert len(await patient) == 3
    assert judge.calls == 1
    assert judge.deadlines[0] >= time.monotonic() + 40


async def test_an_expired_inquiry_starts_no_judgement_in_place_of_one_that_expired(judge, remember):
    cached = remember(judge)
    first = asking(cached)
    await turns()
    other = asking(cached, deadline=time.monotonic() + 0.05)
    await turns()
    time.sleep(0.06)  # noqa: ASYNC251  both deadlines pass in one turn of the loop
    judge.failure = DeadlineExceeded("its deadline passed")
    judge.gate.set()
    for each in (first, other):
        with pytest.raises(DeadlineExceeded):
            await each
    assert judge.calls == 1


@pytest.mark.parametrize(
    ("task", "error", "calls"),
    [
        (PLAIN, JudgeRejected("no"), 1),
        (PLAIN, DeadlineExceeded("its deadline passed"), 2),
        (LONGER, JudgeRejected("cannot stand it"), 2),
    ],
    ids=["all who asked the same", "but who has more time", "but who asked for less"],
)
async def test_a_failure_reaches(judge, remember, task, error, calls):
    cached = remember(judge)
    first = asking(cached, task)
    meters = [Meter() for _ in range(5)]
    others = [asking(cached, meter=meter) for meter in meters]
    await turns()
    judge.failure = error
    judge.gate.set()
    judge.gate.clear()
    with pytest.raises(type(error)):
        await first
    await turns()
    judge.failure = None
    judge.gate.set()
    answers = await asyncio.gather(*others, return_exceptions=True)
    alone = await CountingJudge().judge_criteria(PLAIN, meter=Meter(), deadline=None)
    assert answers == ([error] if calls == 1 else [alone]) * 5
    assert judge.calls == calls
    assert sum(meter.usage.calls for meter in meters) == calls - 1


async def test_an_urgent_task_does_not_wait_in_an_audits_place(judge, remember):
    cached = remember(judge)
    waiting = []
    for task in (AUDIT, PLAIN, AUDIT):
        waiting.append(asking(cached, task))
        await turns()
    assert judge.calls == 2
    judge.gate.set()
    await asyncio.gather(*waiting)
    assert judge.calls == 2


async def test_closing_cancels_what_is_judged_and_tells_who_waits(judge, remember):
    cached = remember(judge)
    waiting = asking(cached)
    await turns()
    await cached.aclose()
    assert judge.cancelled == 1
    for each in (waiting, asking(cached)):
        with pytest.raises(JudgeStopped):
            await each


@pytest.mark.parametrize(
    ("error", "logged"), [(ZeroDivisionError("scripted"), ["ERROR"]), (JudgeRejected("no"), [])]
)
async def test_only_a_defect_is_logged_and_only_where_nobody_waits(
    judge, remember, caplog, error, logged
):
    cached = remember(judge, judge_linger_s=30)
    judge.failure = error
    waiting = asking(cached)
    await turns()
    judge.gate.set()
    with pytest.raises(type(error)):
        await waiting
    assert not caplog.records
    judge.gate.clear()
    await ask_and_leave(cached)
    judge.gate.set()
    await turns()
    assert [record.levelname for record in caplog.records] == logged
