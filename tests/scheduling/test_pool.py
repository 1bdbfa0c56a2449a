"""A pool over scripted judges on real sockets: where calls go, and what happens to servers."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import NoOpTracer

from citemark_schemas import FailureKind
from citemark_service.errors import (
    JudgeOverloaded,
    JudgeServerError,
    JudgeStopped,
    JudgeTimeout,
    JudgeUnreachable,
    SettingsError,
)
from citemark_service.judges.chat import ChatRequest
from citemark_service.judges.server.pool import RetryPolicy
from citemark_service.judges.server.server import Endpoint, Server, ServerLimits, name_servers
from citemark_service.judges.tasks import Meter
from citemark_service.telemetry.metrics import Metrics
from support.pooled_judge import NEVER, QUICK, ask, pool_of, pooled, request
from support.scripted_judge import (
    MODEL,
    Hang,
    Reply,
    ScriptedJudge,
    Status,
    always,
    completion,
    in_turn,
)
from support.waiting import until

OK = always(Reply("1"))


def groups(judge: ScriptedJudge) -> set[str]:
    return {each["messages"][-1]["content"] for each in judge.requests}


def value(metrics: Metrics, name: str, judge: ScriptedJudge, **labels: str) -> float:
    labels["server"] = name_servers([judge.url])[0]
    return metrics.registry.get_sample_value(f"citemark_judge_server_{name}", labels) or 0.0


@pytest.fixture
async def three(start_judge) -> list[ScriptedJudge]:
    return [await start_judge(OK) for _ in range(3)]


async def test_a_group_stays_on_one_server_and_groups_are_spread(three):
    async with pooled(three) as pool:
        for number in range(60):
            for _ in range(2):
                await ask(pool, request(f"g{number}"))
    homes = [groups(judge) for judge in three]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 60
    assert all(5 <= len(home) <= 40 for home in homes)


async def test_two_replicas_send_a_group_to_the_same_server(three):
    async with pooled(three) as one, pooled(three[::-1]) as other:
        for number in range(20):
            await ask(one, request(f"g{number}"))
            await ask(other, request(f"g{number}"))
    assert sum(len(groups(judge)) for judge in three) == 20


async def test_a_group_beyond_its_share_goes_on_at_the_least_loaded_and_stays_there(start_judge):
    judges = [await start_judge(always(Hang())) for _ in range(3)]
    async with pooled(judges, concurrency=8) as pool, AsyncExitStack() as stack:
        for expected in range(1, 10):
            task = asyncio.create_task(ask(pool, request("hot")))
            stack.callback(task.cancel)
            await until(lambda n=expected: sum(j.calls for j in judges) == n)  # type: ignore[misc]
        # A quarter of eight slots is two: each server takes three calls before the next one does.
        assert sorted(judge.calls for judge in judges) == [3, 3, 3]


async def test_without_a_group_calls_go_to_the_least_loaded(start_judge):
    judges = [await start_judge(always(Hang())) for _ in range(2)]
    async with pooled(judges) as pool:
        tasks = [asyncio.create_task(ask(pool, request())) for _ in range(8)]
        await until(lambda: [judge.calls for judge in judges] == [4, 4])
        for task in tasks:
            task.cancel()


async def test_a_retry_goes_to_another_server_and_a_server_that_keeps_failing_is_ejected(
    start_judge,
):
    bad, good = await start_judge(always(Status(500))), await start_judge(OK)
    metrics = Metrics()
    async with pooled([bad, good], metrics=metrics, looks=NEVER, attempts=2) as pool:
        for number in range(40):
            assert (await ask(pool, request(f"g{number}"))).content == "1"
    assert bad.calls == 3
    assert (value(metrics, "up", bad), value(metrics, "up", good)) == (0, 1)
    assert value(metrics, "ejections_total", bad) == 1
    assert value(metrics, "calls_total", bad, outcome=FailureKind.SERVER_ERROR.value) == 3
    assert value(metrics, "calls_total", good, outcome="ok") == 40


async def test_one_call_that_fails_does_not_move_its_group(three):
    async with pooled(three, looks=NEVER) as pool:
        await ask(pool, request("g"))
        (home,) = (judge for judge in three if judge.calls)
        home.script = in_turn(Status(500), Reply("1"))
        await ask(pool, request("g"))
        assert (home.calls, sum(judge.calls for judge in three)) == (2, 3)
        await ask(pool, request("g"))
    assert (home.calls, sum(judge.calls for judge in three)) == (3, 4)


async def test_failures_that_are_not_in_a_row_eject_nobody(start_judge):
    turns = (Status(500), Status(500), Reply("1")) * 20
    judges = [await start_judge(in_turn(*turns)) for _ in range(2)]
    metrics = Metrics()
    async with pooled(judges, metrics=metrics, looks=NEVER, attempts=6) as pool:
        for _ in range(15):
            await ask(pool, request("g"))
    assert [value(metrics, "ejections_total", judge) for judge in judges] == [0, 0]


async def test_a_server_of_another_model_gets_no_calls(start_judge):
    wrong, right = await start_judge(always(Status(404))), await start_judge(OK)
    wrong.models = ("other",)
    async with pooled([wrong, right]) as pool:
        await pool.check()
        for number in range(20):
            await ask(pool, request(f"g{number}"))
    assert groups(wrong) == {"Say one word."}


async def test_where_all_are_down_calls_are_sent_and_fail_by_their_own_error(three):
    async with pooled(three, looks=NEVER, attempts=2) as pool:
        await ask(pool, request("g"))
        for judge in three:
            await judge.refuse()
        for _ in range(6):
            with pytest.raises(JudgeUnreachable):
                await ask(pool, request("g"))
        await three[0].listen()
        for number in range(12):  # two attempts, so that one of three groups may miss it
            with suppress(JudgeUnreachable):
                await ask(pool, request(f"h{number}"))
        for number in range(10):  # it has answered: all go there now
            await ask(pool, request(f"i{number}"))


async def test_a_server_that_lists_its_model_and_answers_no_call_is_tried_ever_more_rarely(
    start_judge,
):
    dead, good = await start_judge(always(Status(500))), await start_judge(OK)
    metrics = Metrics()
    looks = {**QUICK, "max_look_s": 60.0}
    async with pooled([dead, good], metrics=metrics, looks=looks, attempts=4) as pool:
        start, number = time.monotonic(), 0
        while dead.calls < 7:
            await ask(pool, request(f"g{number}"))
            number += 1
    # Three calls eject it; each return costs one more: after 10, 10, 20 and 40 ms, or three
    # quarters of that.
    assert time.monotonic() - start >= 0.75 * (0.01 + 0.01 + 0.02 + 0.04)


async def test_calls_of_a_silent_server_go_elsewhere_without_losing_an_attempt(start_judge):
    stuck = await start_judge(always(Hang()))
    other = await start_judge(always(Reply("1", delay_s=0.05)))
    async with pooled([stuck, other], concurrency=1, attempts=1, looks=NEVER) as pool:
        tasks = [asyncio.create_task(ask(pool, request())) for _ in range(6)]
        await stuck.until(lambda: stuck.calls == 1)
        stuck.models = ("other",)
        await pool.check()
        replies = await asyncio.wait_for(asyncio.gather(*tasks), timeout=60)
        assert [reply.content for reply in replies] == ["1"] * 6
        await stuck.until(lambda: stuck.in_flight == 0)
    assert (stuck.calls, other.calls) == (1 + 1, 6)  # the look's own call, too


async def test_a_server_whose_calls_fail_keeps_what_it_was_sent_while_it_answers_looks(start_judge):
    slow = Reply("slow", delay_s=0.3)
    ill = await start_judge(lambda asked: slow if "slow" in str(asked) else Status(500))
    good = await start_judge(OK)
    async with pooled([ill, good], looks=NEVER, concurrency=8) as pool:
        names = (f"slow{n}" for n in range(50))
        home = next(name for name in names if pool._pick(name, set()) is pool._servers[0])
        sent = asyncio.create_task(ask(pool, request(home)))
        await ill.until(lambda: ill.calls == 1)
        pool._servers[0].turn(JudgeServerError("ill"))
        assert (await sent).content == "slow"


async def test_an_overloaded_server_does_not_hold_up_a_call_that_another_can_take(start_judge):
    busy = await start_judge(always(Status(429, headers={"Retry-After": "60"})))
    free = await start_judge(OK)
    async with pooled([busy, free], looks=NEVER) as pool:
        for number in range(12):
            assert (await ask(pool, request(f"g{number}"))).content == "1"
    assert busy.calls >= 3  # it is busy and not ill


@pytest.mark.parametrize("servers", [1, 3])
async def test_only_one_of_several_is_looked_after_and_a_closed_pool_leaves_nothing_running(
    servers, three
):
    tasks = asyncio.all_tasks()
    pool = pool_of([judge.url for judge in three[:servers]])
    await ask(pool, request("g"))
    looking = len(asyncio.all_tasks() - tasks)
    assert looking >= 3 if servers > 1 else looking == 0
    await pool.aclose()
    assert asyncio.all_tasks() == tasks
    with pytest.raises(JudgeStopped):
        await ask(pool, request("g"))
    assert asyncio.all_tasks() == tasks


class Watched(ScriptedJudge):
    def __init__(self, *models: str) -> None:
        super().__init__(OK if models else always(Status(404)), models=models)
        self.looks: list[float] = []

    def models_body(self) -> bytes:
        self.looks.append(time.monotonic())
        return super().models_body()


async def test_looks_at_a_server_that_stays_away_become_rarer(start_judge):
    there = await start_judge(OK)
    looks = {**QUICK, "first_look_s": 0.02, "max_look_s": 0.16}
    gone = Watched()
    async with gone, pooled([there, gone], looks=looks) as pool:
        await ask(pool, request())  # to the first of those that carry nothing
        await until(lambda: len(gone.looks) >= 6)
    gaps = [after - before for before, after in pairwise(gone.looks)]
    waits = (0.02, 0.04, 0.08, 0.16, 0.16)
    assert all(gap >= 0.75 * wait * 0.95 for gap, wait in zip(gaps, waits, strict=False))


async def test_a_server_that_answers_calls_is_not_looked_at(start_judge):
    busy, idle = Watched(MODEL), Watched(MODEL)
    async with busy, idle, pooled([busy, idle], looks={**QUICK, "look_every_s": 1.5}) as pool:
        while len(idle.looks) < 3:
            await ask(pool, request())  # to the first of those that carry nothing
            await asyncio.sleep(0.01)
    assert len(busy.looks) == 1


class Busy:
    """Answers calls, and lets looks fail once it is told to."""

    endpoint = Endpoint("http://busy/v1", MODEL)

    def __init__(self) -> None:
        self.looked = asyncio.Event()

    async def send(self, request: ChatRequest) -> bytes:
        return completion(Reply("1"))

    async def list_models(self) -> bytes:
        await self.looked.wait()
        raise JudgeTimeout("too busy to list models")

    async def count_tokens(self, request: ChatRequest) -> bytes:
        raise AssertionError("no prompt here is too long")

    async def aclose(self) -> None:
        """Holds nothing."""


@pytest.mark.parametrize("answers", [True, False])
async def test_a_server_too_busy_for_a_look_is_not_ill_while_it_answers(answers):
    transport, metrics = Busy(), Metrics()
    watched = Server("busy", transport, ServerLimits(8, 5.0), metrics, NoOpTracer())
    look = asyncio.create_task(watched.look())
    await asyncio.sleep(0)
    if answers:
        await watched.attempt(request(), meter=Meter(), deadline=None)
    transport.looked.set()
    assert isinstance(await look, JudgeTimeout)
    assert watched.up is answers


def test_servers_are_named_by_host_and_port():
    assert name_servers(["http://a:1/v1", "http://b:1/v1"]) == ["a:1", "b:1"]
    both = ["http://a:1/v1", "http://a:1/v2"]
    assert name_servers([*both, "http://b:1"]) == [*both, "b:1"]
    with pytest.raises(SettingsError, match="once"):
        name_servers(["http://a:1/v1", "http://a:1/v1"])


POLICY = RetryPolicy(attempts=10_000, first_wait_s=0.5, max_wait_s=30.0)


@given(st.integers(1, 9_999), st.none() | st.floats(0, 30))
def test_the_wait_is_what_the_server_asked_for_and_a_bounded_part_of_the_back_off(attempt, asked_s):
    wait_s = POLICY.plan_retry(JudgeOverloaded("busy", retry_after_s=asked_s), attempt, None)
    assert 0 <= wait_s - (asked_s or 0) <= min(30.0, 0.5 * 2.0 ** min(attempt - 1, 10)) + 1e-9


def test_where_the_server_asks_for_more_than_the_longest_wait_its_error_is_raised():
    with pytest.raises(JudgeOverloaded):
        POLICY.plan_retry(JudgeOverloaded("busy", retry_after_s=31), 1, None)
