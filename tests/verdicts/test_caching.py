"""The judge behind the cache says what it would say alone, and is asked once."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Criterion, WarningKind
from citemark_service.judges.tasks import JudgeIdentity, Meter
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import cache_verdicts
from support.in_process_judges import CountingJudge
from support.judge_tasks import TOOL_OUTPUT, claims_task, criteria_task

CLAIMS = [
    "<snippet id=S_1>One.</snippet>",
    "<snippet id=S_2,S_3>Two.</snippet>",
    "<snippet id=S_3,S_2,S_1>Three.</snippet>",
    "<snippet id=S_1,S_3>Four.</snippet>",
    "A sentence stands alone here.",
    "Another sentence stands alone there.",
]
PART = st.tuples(st.lists(st.integers(0, 5)), st.integers(0, 2))  # with repetitions
CACHES = ["off", "memory://", "memory://?entries=2"]


def criteria_of(numbers):
    chosen = [Criterion(title=f"T{n}", description=f"D{n}") for n in numbers]
    return criteria_task(criteria=chosen)


def claims_of(numbers, turn):
    """Claims on the same snippets, whose ids change places with `turn`."""
    answer = f"<answer>{' '.join(CLAIMS[n] for n in (*numbers, 0))}</answer>"
    answer, sources = (
        re.sub(r"S_(\d)", lambda found: f"S_{(int(found[1]) + turn) % 3 + 1}", text)
        for text in (answer, TOOL_OUTPUT)
    )
    return claims_task(answer, tool_output=sources)


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
        for numbers, turn in parts:
            task, cited = criteria_of(numbers), claims_of(numbers, turn)
            assert await criteria(cached, task) == await criteria(CountingJudge(), task)
            assert await citations(cached, cited) == await citations(CountingJudge(), cited)
        return judge

    judge = asyncio.run(compare())
    assert cache != "memory://" or set(judge.asked.values()) == {1}


@pytest.mark.parametrize(("cache", "kept"), [("memory://", 6), ("off", 0)])
async def test_all_known_costs_no_call_and_says_so(remember, log, cache, kept):
    cached = remember(CountingJudge(), verdict_cache=cache)
    for calls in (2, 0 if kept else 2):
        meter = Meter()
        await criteria(cached, criteria_task(), meter)
        await citations(cached, claims_task(), meter)
        assert (meter.usage.calls, meter.all_kept) == (calls, not calls)
    assert log.origins == {"judge": 12 - kept, "cache": kept, "joined": 0}
    assert log.sample("cache_entries") == kept


@pytest.mark.parametrize(("caveat", "kept"), [("unsure", True), ("sources_cut", False)])
async def test_a_verdict_on_less_than_its_key_says_is_not_kept(remember, caveat, kept):
    judge = CountingJudge(caveats=(WarningKind(caveat),))
    cached = remember(judge, verdict_cache="memory://")
    for _ in range(2):
        (verdict, *_) = await criteria(cached, criteria_task())
        assert verdict.caveats == (caveat,)
    assert judge.calls == (1 if kept else 2)


async def test_nothing_asked_is_not_called_cached(remember):
    judge = CountingJudge()
    meter = Meter()
    assert await criteria(remember(judge), criteria_task(criteria=()), meter) == ()
    assert (judge.calls, meter.all_kept) == (0, False)


async def test_the_identity_is_the_judges_and_closing_closes_it(remember):
    judge = CountingJudge(JudgeIdentity("m", "p"))
    cached = remember(judge)
    assert cached.identity == JudgeIdentity("m", "p")
    await cached.check()
    await cached.aclose()
    assert judge.closed
