"""The judge behind the cache says what it would say alone, and is asked once."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Criterion
from citemark_service.judges.tasks import JudgeIdentity, Meter
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.factory import cache_verdicts
from support.counting_judge import CountingJudge
from support.judge_tasks import CRITERIA, RESPONSE, TOOL_OUTPUT, claims_task, criteria_task

CLAIMS = [
    "<snippet id=S_1>One.</snippet>",
    "<snippet id=S_2,S_3>Two.</snippet>",
    "<snippet id=S_3,S_2,S_1>Three.</snippet>",
    "<snippet id=S_1,S_3>Four.</snippet>",
    "A sentence stands alone here.",
    "Another sentence stands alone there.",
]
PART = st.lists(st.integers(0, 5), unique=True)
CACHES = ["off", "memory://", "memory://?entries=2"]


def criteria_of(numbers):
    chosen = [Criterion(title=f"T{n}", description=f"D{n}") for n in numbers]
    return criteria_task(criteria=chosen)


def claims_of(numbers):
    return claims_task(f"<answer>{' '.join(CLAIMS[n] for n in (*numbers, 0))}</answer>")


def rotated(text):
    """The same with every id in another's place."""
    return re.sub(r"S_(\d)", lambda found: f"S_{int(found[1]) % 3 + 1}", text)


async def criteria(judge, task, meter=None):
    return await judge.judge_criteria(task, meter=meter or Meter(), deadline=None)


async def citations(judge, task, meter=None):
    return await judge.judge_citations(task, meter=meter or Meter(), deadline=None)


@given(st.lists(PART, min_size=2, max_size=4), st.sampled_from(CACHES))
@settings(max_examples=60)
def test_the_verdicts_and_their_order_are_the_judges_and_nothing_is_judged_twice(parts, cache):
    async def compare():
        judge = CountingJudge()
        table = Settings(judge="vllm", verdict_cache=cache)
        cached = cache_verdicts(judge, table, Metrics())
        for numbers in parts:
            task, cited = criteria_of(numbers), claims_of(numbers)
            assert await criteria(cached, task) == await criteria(CountingJudge(), task)
            assert await citations(cached, cited) == await citations(CountingJudge(), cited)
        return judge

    judge = asyncio.run(compare())
    assert cache != "memory://" or set(judge.asked.values()) == {1}


async def test_all_known_costs_no_call_and_says_so(remember, log):
    judge = CountingJudge()
    cached = remember(judge)
    first, second = Meter(), Meter()
    await criteria(cached, criteria_task(), first)
    await citations(cached, claims_task(), first)
    assert not first.all_kept
    assert first.usage.calls == 2
    await criteria(cached, criteria_task(), second)
    await citations(cached, claims_task(), second)
    assert second.all_kept
    assert second.usage.calls == 0
    assert log.origins == {"judge": 6, "cache": 6, "joined": 0}
    assert log.entries == 6


async def test_some_known_makes_a_smaller_task_and_is_not_called_cached(remember):
    judge = CountingJudge()
    cached = remember(judge)
    await criteria(cached, criteria_task(criteria=CRITERIA[:2]))
    meter = Meter()
    await criteria(cached, criteria_task(), meter)
    assert not meter.all_kept
    assert judge.asked == {c.description: 1 for c in CRITERIA}


async def test_nothing_asked_is_not_called_cached(remember):
    judge = CountingJudge()
    meter = Meter()
    assert await criteria(remember(judge), criteria_task(criteria=()), meter) == ()
    assert (judge.calls, meter.all_kept) == (0, False)


async def test_a_claim_is_known_under_other_ids_and_keeps_them(remember):
    judge = CountingJudge()
    cached = remember(judge)
    first = await citations(cached, claims_task())
    second = await citations(
        cached, claims_task(rotated(RESPONSE), tool_output=rotated(TOOL_OUTPUT))
    )
    assert judge.calls == 1
    assert first.claims[1].contributing.keys() == {"S_2", "S_3"}
    assert second.claims[1].contributing == {
        "S_3": first.claims[1].contributing["S_2"],
        "S_1": first.claims[1].contributing["S_3"],
    }


async def test_the_same_thing_asked_twice_in_a_task_is_judged_once(remember):
    judge = CountingJudge()
    found = await criteria(remember(judge), criteria_task(criteria=(*CRITERIA, CRITERIA[0])))
    assert found[0] == found[3]
    assert judge.asked == {c.description: 1 for c in CRITERIA}


async def test_off_keeps_nothing(remember, log):
    judge = CountingJudge()
    cached = remember(judge, verdict_cache="off")
    await criteria(cached, criteria_task())
    await criteria(cached, criteria_task())
    assert judge.calls == 2
    assert log.origins["cache"] == log.entries == 0


async def test_the_identity_is_the_judges_and_closing_closes_it(remember):
    judge = CountingJudge(JudgeIdentity("m", "p"))
    cached = remember(judge)
    assert cached.identity == JudgeIdentity("m", "p")
    await cached.check()
    await cached.aclose()
    assert judge.closed


@pytest.mark.parametrize("identity", [JudgeIdentity("m2", "p"), JudgeIdentity("m", "p2")])
async def test_another_model_or_prompt_is_asked_again(remember, tmp_path, identity):
    url = f"sqlite:///{tmp_path}/verdicts.db"
    for judge in (CountingJudge(JudgeIdentity("m", "p")), CountingJudge(identity)):
        cached = remember(judge, verdict_cache=url)
        await criteria(cached, criteria_task())
        await cached.aclose()
        assert judge.calls == 1
