"""What the callables share: one pool, few calls, any thread and loop, and a clean end."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from starlette.responses import Response

from citemark_grpo.client import ScoreClient, await_service
from citemark_grpo.errors import Broken, Overloaded, Refused, TimedOut, Unreachable
from citemark_grpo.gathering import Gatherer
from citemark_grpo.settings import ClientSettings
from citemark_grpo.source import Source, source_of
from citemark_schemas import FailureKind, Problem, ProblemDetail, Rollout
from support.running_service import until
from support.scripted_service import answering, failing, status


def rollout(size=0, **more):
    return Rollout(**{"question": "q", "tool_output": "", "response": "x" * size, **more})


def rewards(outcomes: Sequence[Any]) -> list[float | None]:
    return [each.reward for each in outcomes]


def refused_with(outcome: object) -> int | None:
    return outcome.status if isinstance(outcome, Refused) else None


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


async def outcomes_of(source, rollouts, deadline_s=60.0):
    return await asyncio.wrap_future(source.submit(source.gatherer.outcomes(rollouts, deadline_s)))


async def scores_of(source, rollouts):
    return await asyncio.wrap_future(source.submit(source.gatherer.scores(rollouts, 60.0, 0.5)))


def scores_sync(source, rollouts, deadline_s=60.0, fallback=0.0):
    return source.submit(source.gatherer.scores(rollouts, deadline_s, fallback)).result()


@pytest.fixture
def source(service):
    """A source of the scripted service's results."""
    opened = Source(service.url)
    yield opened
    opened.close()


async def test_rollouts_that_come_one_by_one_travel_together(source, service):
    calls = [outcomes_of(source, [rollout(size)]) for size in range(256)]
    outcomes = await asyncio.gather(*calls)
    assert [rewards(each) for each in outcomes] == [[float(size)] for size in range(256)]
    assert sum(len(request["items"]) for request in service.requests) == 256
    assert len(service.requests) <= 64


def test_many_threads_and_loops_share_one_source(source, service):
    def in_loop(size):
        (outcome,) = asyncio.run(outcomes_of(source, [rollout(size)]))
        return outcome.reward

    def in_thread(size):
        (outcome,) = scores_sync(source, [rollout(size)])
        return outcome.reward

    with ThreadPoolExecutor(32) as pool:
        got = [pool.submit(in_loop if size % 2 else in_thread, size) for size in range(64)]
        assert [each.result() for each in got] == [float(size) for size in range(64)]
    assert service.busiest <= 16


@pytest.fixture
def gate(service):
    """The next answer waits for it."""
    opened = threading.Event()

    def wait(body):
        assert opened.wait(60)
        return answering(body)

    service.steps = [wait]
    return opened


async def test_waiting_does_not_stop_the_callers_loop(source, service, gate):
    asked = asyncio.ensure_future(outcomes_of(source, [rollout()]))
    await asyncio.to_thread(until, lambda: service.busy == 1)
    gate.set()
    assert rewards(await asked) == [0.0]


INVALID = ProblemDetail(loc="items[1].static_rubrics", message="unknown set 'v9'")
PROBLEM = Problem(error="invalid_request", message="1 problem", details=(INVALID,))


def breaking(body):
    poisoned = any(item["question"] == "poison" for item in body["items"])
    return Response(status_code=500) if poisoned else answering(body)


@pytest.mark.parametrize(
    ("question", "steps", "error", "said"),
    [
        (
            "q",
            [status(422, PROBLEM.model_dump_json()), answering],
            Refused,
            "the rollout is invalid; static_rubrics: unknown set 'v9'",
        ),
        ("\ud800", [], Refused, ""),
        ("poison", [breaking] * 9, Broken, ""),
    ],
    ids=["malformed", "no unicode", "the service breaks on it"],
)
async def test_a_bad_rollout_fails_alone(source, service, *, question, steps, error, said):
    service.steps = list(steps)
    asked = [rollout(1), rollout(2, question=question), rollout(3)]
    first, second, third = await outcomes_of(source, asked)
    assert rewards([first, third]) == [1.0, 3.0]
    assert type(second) is error
    assert str(second) == said or not said


async def test_what_a_stopping_service_sent_back_is_asked_of_the_next(source, service):
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 1, 2, 3)]
    outcomes = await outcomes_of(source, [rollout(size) for size in range(4)], 30.0)
    assert rewards(outcomes) == [0.0, 1.0, 2.0, 3.0]
    assert [len(request["items"]) for request in service.requests] == [4, 3]


def test_a_service_that_restarts_in_the_middle_costs_no_reward(start):
    first = start(stop_grace_s=0.3)
    port = int(first.server.url.rpartition(":")[2])
    asked = [rollout(question=f"wait {n}", response="<answer>x</answer>") for n in range(40)]
    with closing(Source(first.server.url)) as source, ThreadPoolExecutor(1) as pool:
        scores = pool.submit(scores_sync, source, asked, 60.0, -1.0)
        until(lambda: len(first.judge.started) > 0)
        first.server.stop()
        until(lambda: not first.thread.is_alive())
        second = start(port=port)
        second.judge.gate.set()
        (reward,) = {score.reward for score in scores.result(60)}
    assert reward > 0
    assert len(second.judge.started) == 40


async def test_a_failed_sample_gets_the_mean_of_its_prompts_rewards(source, service):
    service.steps = [failing(FailureKind.TIMEOUT, 1), failing(FailureKind.TIMEOUT, 0)]
    scores = await scores_of(source, [rollout(1), rollout(9), rollout(2)])
    other = await scores_of(source, [rollout(9, question="another")])
    assert [each.reward for each in [*scores, *other]] == [1.0, 1.5, 2.0, 0.5]


async def test_the_token_opens_the_service(start):
    url = start(api_token="t0ken-of-the-service").server.url
    refused, scored = [
        await outcomes_of(source_of(ClientSettings(url=url, api_token=token)), [rollout()])
        for token in ("another", "t0ken-of-the-service")
    ]
    assert refused_with(refused[0]) == 401
    assert rewards(scored) == [0.0]


async def test_the_deadline_ends_the_wait_and_the_log_says_so(source, service, caplog):
    service.delay_s = 30.0
    (outcome,) = await outcomes_of(source, [rollout()], 2.0)
    assert isinstance(outcome, TimedOut)
    assert service.busy == 1
    (line,) = errors_in(caplog)
    assert line.startswith("1 of 1 rollouts have no reward: TimedOut: ")


async def test_a_mates_longer_deadline_is_not_cut(service):
    service.delay_s = 0.5
    async with ScoreClient(service.url) as client:
        gatherer = Gatherer(client, batch_items=2, gather_s=60.0, max_waiting=2)
        short, long = await asyncio.gather(
            gatherer.outcomes([rollout(1)], 0.2), gatherer.outcomes([rollout(2)], 20.0)
        )
    assert isinstance(short[0], TimedOut)
    assert rewards(long) == [2.0]
    assert len(service.requests) == 1


async def test_a_cancelled_caller_takes_only_its_own_back(source, service, gate):
    asked = [asyncio.ensure_future(outcomes_of(source, [rollout(n)])) for n in (1, 2)]
    await asyncio.to_thread(until, lambda: service.busy == 1)
    asked[0].cancel()
    gate.set()
    assert rewards(await asked[1]) == [2.0]
    with pytest.raises(asyncio.CancelledError):
        await asked[0]


async def test_a_call_that_nobody_waits_for_is_taken_back(source, service):
    service.delay_s = 30.0
    asked = asyncio.ensure_future(outcomes_of(source, [rollout()], 60.0))
    await asyncio.to_thread(until, lambda: service.busy == 1)
    asked.cancel()
    await asyncio.to_thread(until, lambda: not source.gatherer._calls)
    assert source.gatherer._held == 0


async def test_more_than_may_wait_is_refused_at_once_and_the_log_says_so(source, service, caplog):
    service.delay_s = 30.0
    waiting = asyncio.ensure_future(outcomes_of(source, [rollout()], 60.0))
    await asyncio.to_thread(until, lambda: service.busy == 1)
    outcomes = await outcomes_of(source, [rollout()] * 20_000)
    assert {type(each) for each in outcomes} == {Overloaded}
    (line,) = errors_in(caplog)
    assert line.startswith("20000 of 20000 rollouts have no reward: Overloaded: ")
    waiting.cancel()


async def test_one_call_may_bring_more_than_may_wait(service):
    async with ScoreClient(service.url) as client:
        gatherer = Gatherer(client, batch_items=2, gather_s=0.0, max_waiting=3)
        outcomes = await gatherer.outcomes([rollout(size) for size in range(5)], 10.0)
    assert rewards(outcomes) == [0.0, 1.0, 2.0, 3.0, 4.0]


async def test_a_service_that_is_away_for_a_moment_costs_no_reward(source, service):
    service.steps = [status(503, retry_after="0"), status(502), *[answering] * 99]
    outcomes = await outcomes_of(source, [rollout(size) for size in range(48)], 60.0)
    assert rewards(outcomes) == [float(size) for size in range(48)]


async def test_the_log_tells_what_a_trainer_that_stands_still_waits_for(caplog):
    errors = iter([Unreachable("no connection")] * 11)

    async def call():
        if error := next(errors, None):
            raise error

    await await_service(call, timeout_s=60.0, max_pause_s=0.001)
    assert [each.getMessage() for each in caplog.records] == [
        f"still no answer after {tries} tries, trying on: no connection" for tries in (5, 10)
    ]


async def test_a_wrong_token_is_asked_about_once_and_said_once_a_batch(source, service, caplog):
    service.steps = [status(401)] * 9
    outcomes = await outcomes_of(source, [rollout()] * 3)
    assert [refused_with(each) for each in outcomes] == [401] * 3
    assert len(service.requests) == 1
    (line,) = errors_in(caplog)
    told = f"{service.url}/v1/score answered 401: no token, or a wrong one; "
    assert line == (
        f"3 of 3 rollouts have no reward: Refused: {told}"
        "set CITEMARK_API_TOKEN where the client runs"
    )


async def test_rows_without_rubrics_are_told_once(source, caplog):
    with_rubrics = rollout(1, positive_rubrics=["Says x."])
    await outcomes_of(source, [with_rubrics])
    assert caplog.records == []
    for _ in range(3):
        await outcomes_of(source, [rollout(2), with_rubrics])
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("1 of 2 rollouts bring no rubrics")


def test_a_closed_source_says_so(service):
    source = Source(service.url)
    source.close()
    source.close()
    with pytest.raises(RuntimeError, match="closed"):
        scores_sync(source, [rollout()], 1.0, 0.0)


def test_closing_gives_up_what_is_under_way(service):
    service.delay_s = 30.0
    source = Source(service.url)
    ended = []

    def asking():
        with pytest.raises(concurrent.futures.CancelledError):
            scores_sync(source, [rollout()], 60.0, 0.0)
        ended.append("cancelled")

    thread = threading.Thread(target=asking)
    thread.start()
    until(lambda: service.busy == 1)
    source.close()
    thread.join(60)
    assert not thread.is_alive()
    assert ended == ["cancelled"]


def test_one_source_for_each_service_and_token(service):
    settings = ClientSettings(url=service.url)
    assert source_of(settings) is source_of(settings.model_copy(update={"deadline_s": 1.0}))
    assert source_of(settings) is not source_of(ClientSettings(url=service.url, api_token="t"))


def _asked_in_child(settings, size):
    return rewards(scores_sync(source_of(settings), [rollout(size)], 20.0, 0.0))[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_has_a_source_of_its_own_and_leaves_the_parents_whole(service):
    settings = ClientSettings(url=service.url)
    assert _asked_in_child(settings, 1) == 1.0
    with multiprocessing.get_context("fork").Pool(2) as pool:
        got = pool.starmap(_asked_in_child, [(settings, size) for size in range(8)])
        assert got == [float(size) for size in range(8)]
        pool.close()
        pool.join()
    assert _asked_in_child(settings, 2) == 2.0


_ENDS = """
import sys, threading
from citemark_grpo.service import connect
from citemark_schemas import Rollout
asked = Rollout(question="q", tool_output="", response="xx")
service = connect(url=sys.argv[1])
print(service.scores_sync([asked])[0].reward, flush=True)
threading.Thread(target=service.scores_sync, args=([asked],), daemon=True).start()
"""


def test_an_interpreter_that_ends_does_not_hang_on_what_is_under_way(service):
    def slow(body):
        service.delay_s = 60.0
        return answering(body)

    service.steps = [slow]
    command = [sys.executable, "-c", _ENDS, service.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    service.delay_s = 0.0
    assert done.stdout == "2.0\n"
    assert done.returncode == 0
