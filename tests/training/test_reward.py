"""Citemark as TRL's reward, over a real socket."""

import asyncio
import json
import logging
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from citemark_grpo.errors import Refused
from citemark_grpo.training.plan import ServicePatience
from citemark_grpo.training.reward import CitemarkReward
from citemark_schemas import FailureKind, Knobs, Rollout
from support.scripted_service import Service, failing, free_url, scripted_service, status

PATIENCE_S = 50.0
ROWS = [
    Rollout(
        question="q", tool_output="", response="", group=f"g{n // 2}", no_claims_score=0.5
    ).model_dump_json(exclude_unset=True)
    for n in range(4)
]
TEXTS = ["x", "xx", "xxx", "xxxx"]
REWARDS = [1.0, 2.0, 3.0, 4.0]


def reward_of(url, *, timeout_s=20.0, wait_s=20.0, log_every_s=60.0) -> CitemarkReward:
    service = ServicePatience(url, "r", timeout_s, wait_s, max_failed_share=0.5)
    return CitemarkReward(service, Knobs(verification_reward=10.0), log_every_s=log_every_s)


def said(text):
    return [{"role": "assistant", "content": text}]


async def called(reward: CitemarkReward, **more: Any) -> list[float | None]:
    """The reward as the trainer calls it, for four completions of two prompts."""
    given = {
        "prompts": ["p"] * 4,
        "completions": list(map(said, TEXTS)),
        "completion_ids": [[1]] * 4,
        "rollout": ROWS,
        "finish_reason": ["stop", "stop", "stop", "length"],
        "trainer_state": SimpleNamespace(global_step=7),
        "log_metric": lambda name, value: None,
        "log_extra": lambda name, values: None,
    }
    return await reward(**{**given, **more})


@pytest.mark.parametrize("completions", [TEXTS, list(map(said, TEXTS))], ids=["text", "turns"])
async def test_a_batch_is_one_call_with_run_step_group_and_knobs(service: Service, completions):
    reward = reward_of(service.url)
    assert await called(reward, completions=completions) == REWARDS
    (request,) = service.requests
    assert request["verification_reward"] == 10.0
    items = request["items"]
    assert [item["response"] for item in items] == TEXTS
    assert [item["group"] for item in items] == ["g0", "g0", "g1", "g1"]
    assert [item["finish_reason"] for item in items] == ["stop", "stop", "stop", "length"]
    assert {(item["run"], item["step"], item["no_claims_score"]) for item in items} == {
        ("r", 7, 0.5)
    }
    assert len({item["id"] for item in items}) == 4
    assert [each.response for each in reward.judged] == TEXTS
    assert [each.result.reward for each in reward.judged if each.result] == REWARDS


async def test_what_the_judge_failed_on_is_none_and_counted(service: Service):
    service.steps = [failing(FailureKind.TIMEOUT, 1, 2)]
    reward = reward_of(service.url)
    assert await called(reward) == [1.0, None, None, 4.0]
    assert reward.failures == {"judge_timeout: said so": 2}
    assert len(service.requests) == 1
    assert await called(reward) == REWARDS
    assert reward.failures == {}


async def test_a_service_that_is_away_is_waited_for():
    url = free_url()
    waiting = asyncio.create_task(called(reward_of(url)))
    await asyncio.sleep(1.0)
    assert not waiting.done()
    with scripted_service(socket.create_server(("127.0.0.1", int(url.rpartition(":")[2])))):
        assert await waiting == REWARDS


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


async def test_the_real_service_scores_what_is_sent(citemark_url):
    fact = "<snippet id=m>The mill closed in 1911.</snippet>"
    row = Rollout(question="When did the mill close?", tool_output=fact, response="", group="m")
    texts = [f"<answer>{fact}</answer>", "The mill closed in 1911."]
    rollout = [row.model_dump_json(exclude_unset=True)] * 2
    cited, plain = await called(reward_of(citemark_url), completions=texts, rollout=rollout)
    assert plain == 0.0
    assert cited is not None
    assert cited > 2.0, "scaled by verification_reward"


async def test_a_long_wait_is_told(service: Service, caplog):
    service.delay_s = 0.5
    with caplog.at_level(logging.WARNING):
        await called(reward_of(service.url, log_every_s=0.1))
    assert "waiting for rewards from http://" in caplog.text
