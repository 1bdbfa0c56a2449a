"""One judgement for all who wait: who is billed, who fails, and when it ends."""

import asyncio
import time
from dataclasses import replace

import pytest

from citemark_schemas import Criterion
from citemark_service.errors import DeadlineExceeded, JudgeRejected, JudgeStopped
from citemark_service.judges.tasks import Meter, Origin
from support.counting_judge import CountingJudge
from support.judge_tasks import CRITERIA, claims_task, criteria_task
from support.waiting import until


@pytest.fixture
def judge():
    """A judge that waits at its gate."""
    judge = CountingJudge()
    judge.gate = asyncio.Event()
    return judge


def asking(cached, task=None, *, meter=None, deadline=None):
    return asyncio.create_task(
        cached.judge_criteria(task or criteria_task(), meter=meter or Meter(), deadline=deadline)
    )


async def turns():
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def ask_and_leave(cached):
    """Ask, and be gone once the judge has been asked."""
    first = asking(cached)
    await turns()
    first.cancel()
    await turns()


async def test_who_asks_meanwhile_joins_and_is_not_billed(judge, remember, log):
    cached = remember(judge)
    first, second = Meter(), Meter()
    waiting = [asking(cached, meter=first), asking(cached, meter=second)]
    await turns()
    judge.gate.set()
    one, two = await asyncio.gather(*waiting)
    assert one == two
    assert judge.calls == 1
    assert (first.usage.calls, second.usage.calls) == (1, 0)
    assert not second.all_kept
    assert log.origins == {"judge": 3, "joined": 3, "cache": 0}


@pytest.mark.parametrize(("linger_s", "pause_s"), [(30, 0.0), (0.1, 0.3)])
async def test_a_repost_in_time_joins_and_stops_the_end_that_was_coming(
    judge, remember, linger_s, pause_s
):
    cached = remember(judge, judge_linger_s=linger_s)
    await ask_and_leave(cached)
    again = asking(cached)
    await turns()
    await asyncio.sleep(pause_s)
    judge.gate.set()
    assert len(await again) == 3
    assert (judge.calls, judge.cancelled) == (1, 0)


async def test_a_repost_after_the_judgement_ended_alone_finds_it(judge, remember):
    cached = remember(judge, judge_linger_s=30)
    await ask_and_leave(cached)
    judge.gate.set()
    await turns()
    meter = Meter()
    await asking(cached, meter=meter)
    assert meter.all_kept
    assert judge.calls == 1


async def test_without_a_repost_the_judge_is_cancelled(judge, remember):
    cached = remember(judge, judge_linger_s=0.1)
    await ask_and_leave(cached)
    assert judge.cancelled == 0
    await until(lambda: judge.cancelled == 1)
    judge.gate.set()
    await asking(cached)
    assert judge.calls == 2


async def test_while_one_waits_nothing_is_cancelled(judge, remember):
    cached = remember(judge, judge_linger_s=0.01)
    waiting = [asking(cached), asking(cached)]
    await turns()
    waiting[0].cancel()
    await asyncio.sleep(0.1)
    assert judge.cancelled == 0
    judge.gate.set()
    assert len(await waiting[1]) == 3


async def test_what_is_partly_known_and_partly_joined_is_not_called_cached(judge, remember, log):
    cached = remember(judge)
    judge.gate.set()
    await asking(cached, criteria_task(criteria=CRITERIA[:2]))
    judge.gate.clear()
    meters = Meter(), Meter()
    waiting = [asking(cached, meter=meter) for meter in meters]
    await turns()
    judge.gate.set()
    await asyncio.gather(*waiting)
    assert [meter.usage.calls for meter in meters] == [1, 0]
    assert not meters[1].all_kept
    assert log.origins == {"judge": 3, "cache": 4, "joined": 1}


async def test_one_deadline_fails_nobody_else(judge, remember):
    cached = remember(judge, judge_deadline_s=50)
    hasty = asking(cached, deadline=time.monotonic() + 0.05)
    patient = asking(cached, deadline=time.monotonic() + 40)
    with pytest.raises(DeadlineExceeded):
        await hasty
    judge.gate.set()
    assert len(await patient) == 3
    assert judge.calls == 1
    assert judge.deadlines[0] >= time.monotonic() + 40


async def test_who_joins_with_no_time_left_fails_and_the_others_do_not(judge, remember):
    cached = remember(judge)
    first = asking(cached)
    await turns()
    for wait_s in (0.05, -1.0):
        with pytest.raises(DeadlineExceeded):
            await asking(cached, deadline=time.monotonic() + wait_s)
    judge.gate.set()
    assert len(await first) == 3
    assert judge.calls == 1


async def test_who_comes_with_more_time_than_the_judgement_has_asks_again(judge, remember):
    class Punctual(CountingJudge):
        """Gives the first task up at its deadline, and answers every other."""

        async def judge_criteria(self, task, *, meter, deadline):
            if self.calls == 0:
                self.calls += 1
                await asyncio.sleep(deadline - time.monotonic())
                raise DeadlineExceeded("its deadline passed")
            return await super().judge_criteria(task, meter=meter, deadline=deadline)

    cached = remember(Punctual(), judge_deadline_s=0.1)
    first = asking(cached, deadline=time.monotonic() + 0.1)
    await turns()
    second = asking(cached, deadline=time.monotonic() + 60)
    with pytest.raises(DeadlineExceeded):
        await first
    assert len(await second) == 3


async def test_a_failure_reaches_all_and_is_not_kept(judge, remember):
    cached = remember(judge)
    waiting = [asking(cached) for _ in range(3)]
    await turns()
    judge.failure = JudgeRejected("no")
    judge.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [JudgeRejected] * 3
    assert judge.calls == 1
    judge.failure = None
    assert len(await asking(cached)) == 3
    assert judge.calls == 2


POISON = Criterion(title="P", description="poison")


class Fussy(CountingJudge):
    """Rejects every task with a criterion that it cannot stand."""

    async def judge_criteria(self, task, *, meter, deadline):
        await asyncio.sleep(0.01)
        found = await super().judge_criteria(task, meter=meter, deadline=deadline)
        if POISON in task.criteria:
            raise JudgeRejected("cannot stand it")
        return found


async def test_those_who_waited_for_a_neighbour_that_failed_ask_once_for_all(remember):
    judge = Fussy()
    cached = remember(judge)
    hostile = asking(cached, criteria_task(criteria=(*CRITERIA, POISON)))
    await turns()
    meters = [Meter() for _ in range(5)]
    decent = [asking(cached, meter=meter) for meter in meters]
    with pytest.raises(JudgeRejected):
        await hostile
    alone = await CountingJudge().judge_criteria(criteria_task(), meter=Meter(), deadline=None)
    assert await asyncio.gather(*decent) == [alone] * 5
    assert sum(meter.usage.calls for meter in meters) == 1
    assert (judge.calls, judge.asked["poison"]) == (2, 1)


async def test_an_urgent_task_does_not_wait_in_an_audits_place(judge, remember):
    cached = remember(judge)
    audit = asking(cached, replace(criteria_task(), origin=Origin("audit", 10)))
    await turns()
    training = asking(cached)
    await turns()
    late = asking(cached, replace(criteria_task(), origin=Origin("audit", 10)))
    await turns()
    assert judge.calls == 2
    judge.gate.set()
    await asyncio.gather(audit, training, late)
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


async def test_closing_ends_what_lingers(judge, remember):
    cached = remember(judge, judge_linger_s=60)
    await ask_and_leave(cached)
    await cached.aclose()
    assert judge.cancelled == 1


async def test_a_defect_reaches_who_waits_and_is_logged_where_nobody_does(remember, caplog):
    class Broken(CountingJudge):
        async def judge_citations(self, task, *, meter, deadline):
            await asyncio.sleep(0.01)
            raise ZeroDivisionError("scripted defect")

    cached = remember(Broken())
    with pytest.raises(ZeroDivisionError):
        await cached.judge_citations(claims_task(), meter=Meter(), deadline=None)
    assert not caplog.records
    left = asyncio.create_task(cached.judge_citations(claims_task(), meter=Meter(), deadline=None))
    await turns()
    left.cancel()
    await until(lambda: caplog.records)
    assert caplog.records[0].levelname == "ERROR"


async def test_a_failure_that_nobody_waited_for_is_not_logged(judge, remember, caplog):
    cached = remember(judge, judge_linger_s=30)
    await ask_and_leave(cached)
    judge.failure = JudgeRejected("no")
    judge.gate.set()
    await turns()
    assert not caplog.records
