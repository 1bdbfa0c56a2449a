"""Citemark as TRL's reward, over a real socket."""

import asyncio
import inspect
import json
import logging
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from citemark_grpo.errors import Refused
from citemark_grpo.training.plan import ServicePatience
from citemark_grpo.training.reward import CitemarkReward
from citemark_schemas import FailureKind, Knobs, Rollout
from support.scripted_service import Service, failing, free_url, listening, scripted_service, status

PATIENCE_S = 50.0
ROWS = tuple(
    Rollout(question="q", tool_output="", response="", group=f"g{n // 2}").model_dump_json(
        exclude_unset=True
    )
    for n in range(4)
)


def reward_of(
    url: str,
    *,
    timeout_s: float = 20.0,
    wait_s: float = 20.0,
    log_every_s: float = 60.0,
) -> CitemarkReward:
    service = ServicePatience(
        url=url, run="r", timeout_s=timeout_s, wait_s=wait_s, max_failed_share=0.5
    )
    knobs = Knobs(verification_reward=10.0)
    return CitemarkReward(service, knobs, log_every_s=log_every_s)


async def called(reward: CitemarkReward, **more: Any) -> list[float | None]:
    """The reward as the trainer calls it, for four completions of two prompts."""
    return await reward(
        prompts=["p"] * 4,
        completions=[[{"role": "assistant", "content": "x" * n}] for n in range(1, 5)],
        completion_ids=[[1]] * 4,
        **{"rollout": ROWS, "finish_reason": ["stop", "stop", "stop", "length"], **more},
        trainer_state=SimpleNamespace(global_step=7),
        log_metric=lambda name, value: None,
        log_extra=lambda name, values: None,
    )


async def test_a_batch_is_one_call_with_run_step_group_and_the_runs_knobs(service: Service):
    assert await called(reward_of(service.url)) == [1.0, 2.0, 3.0, 4.0]
    (request,) = service.requests
    assert request["verification_reward"] == 10.0
    items = request["items"]
    assert [item["response"] for item in items] == ["x", "xx", "xxx", "xxxx"]
    assert [item["group"] for item in items] == ["g0", "g0", "g1", "g1"]
    assert [item["finish_reason"] for item in items] == ["stop", "stop", "stop", "length"]
    assert {(item["run"], item["step"]) for item in items} == {("r", 7)}
    assert len({item["id"] for item in items}) == 4


async def test_what_the_judge_failed_on_is_none_and_counted(service: Service):
    service.steps = [failing(FailureKind.TIMEOUT, 1, 2)]
    reward = reward_of(service.url)
    assert await called(reward) == [1.0, None, None, 4.0]
    assert reward.failures == {"judge_timeout: said so": 2}
    assert len(service.requests) == 1
    assert await called(reward) == [1.0, 2.0, 3.0, 4.0]
    assert reward.failures == {}


async def test_what_a_stopping_service_did_not_start_is_asked_again(service: Service):
    service.steps = [failing(FailureKind.SHUTTING_DOWN, 0, 3), status(503)]
    assert await called(reward_of(service.url)) == [1.0, 2.0, 3.0, 4.0]
    assert [len(request["items"]) for request in service.requests] == [4, 2, 2]


async def test_a_service_that_is_away_is_waited_for():
    with scripted_service() as service:
        url = service.url
    waiting = asyncio.create_task(called(reward_of(url)))
    await asyncio.sleep(1.0)
    assert not waiting.done()
    port = int(url.rpartition(":")[2])
    back = Service(url)
    app = Starlette(routes=[Route("/v1/score", back.answer, methods=["POST"])])
    with listening(app, socket.create_server(("127.0.0.1", port))):
        assert await waiting == [1.0, 2.0, 3.0, 4.0]


async def test_a_service_that_stays_away_leaves_the_batch_without_rewards():
    reward = reward_of(free_url(), timeout_s=0.5, wait_s=0.5)
    assert await asyncio.wait_for(called(reward), PATIENCE_S) == [None] * 4
    ((reason, count),) = reward.failures.items()
    assert count == 4
    assert reason.startswith(("Unreachable", "TimedOut"))


async def test_a_service_that_is_too_slow_leaves_the_batch_without_rewards(service: Service):
    service.delay_s = 60.0
    reward = reward_of(service.url, timeout_s=3.0, wait_s=3600.0)
    assert await asyncio.wait_for(called(reward), PATIENCE_S) == [None] * 4
    assert len(service.requests) == 1, "it may still be judging"


async def test_a_refused_request_ends_the_run(service: Service):
    service.steps = [status(422, json.dumps({"error": "invalid_request", "message": "no"}))]
    with pytest.raises(Refused, match="no"):
        await called(reward_of(service.url))


async def test_what_was_judged_is_kept_for_the_record(service: Service):
    reward = reward_of(service.url)
    await called(reward)
    assert [each.response for each in reward.judged] == ["x", "xx", "xxx", "xxxx"]
    assert [each.result.reward for each in reward.judged if each.result] == [1.0, 2.0, 3.0, 4.0]


async def test_a_rows_own_knob_travels_with_it(service: Service):
    row = json.dumps({**json.loads(ROWS[0]), "no_claims_score": 0.5})
    await called(reward_of(service.url), rollout=[row] * 4)
    assert {item["no_claims_score"] for item in service.requests[0]["items"]} == {0.5}


async def test_a_completion_may_be_plain_text(service: Service):
    reward = reward_of(service.url)
    rewards = await reward(
        completions=["xxx"],
        rollout=ROWS[:1],
        finish_reason=["stop"],
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=lambda name, value: None,
    )
    assert rewards == [3.0]


async def test_the_real_service_scores_what_is_sent(citemark_url):
    source = "<snippet id=m>The mill closed in 1911.</snippet>"
    row = Rollout(question="When did the mill close?", tool_output=source, response="", group="m")
    texts = [
        "<answer><snippet id=m>The mill closed in 1911.</snippet></answer>",
        "The mill closed in 1911.",
    ]
    rewards = await reward_of(citemark_url)(
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        rollout=[row.model_dump_json(exclude_unset=True)] * 2,
        finish_reason=["stop"] * 2,
        trainer_state=SimpleNamespace(global_step=0),
        log_metric=lambda name, value: None,
    )
    assert rewards[1] == 0.0
    assert rewards[0] is not None
    assert rewards[0] > 2.0, "scaled by verification_reward"


async def test_a_long_wait_is_told(service: Service, caplog):
    service.delay_s = 0.5
    with caplog.at_level(logging.WARNING):
        await called(reward_of(service.url, log_every_s=0.1))
    assert "waiting for rewards from http://" in caplog.text


def test_it_is_what_trl_takes_for_an_async_function():
    reward = reward_of(free_url())
    assert inspect.iscoroutinefunction(reward.__call__)
    assert reward.__name__ == "citemark"
