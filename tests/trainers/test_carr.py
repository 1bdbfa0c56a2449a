"""What CaRR's fork of slime puts on the wire. It is not published as a package.

A history of messages with what tools answered, the row's rubrics beside it; 120 s and 10 tries,
as in slime. The fork reads `outcome_reward`, `rubric_reward` and each rubric's `is_supported`.
"""

import asyncio

import aiohttp
import pytest

from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import judged_or_flagged
from support.step_rollouts import by_content

_TRIES = 10


def episode(rollout):
    """The body of one request."""
    call = {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    return {
        "history": [
            {"role": "user", "content": rollout["question"]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": [{"output": rollout["tool_output"]}]},
            {"role": "assistant", "content": rollout["response"]},
        ],
        "label": "",
        "task_unfinished": False,
        "remote_env_info": {
            "search_forbidden_strs": [rollout["question"]],
            "rubrics": rollout["positive_rubrics"],
            "rubric_reward_ratio": 0.3,
        },
    }


async def evaluated(session, url, body):
    """One episode's answer; an error after the tenth try ends the run."""
    for attempt in range(_TRIES):
        try:
            async with session.post(url, json=body) as reply:
                reply.raise_for_status()
                return await reply.json()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(min(2**attempt, 30))
    raise AssertionError("the fork would end the run")


async def step_of(rollouts, url):
    """The answers of a step, asked for all at once."""
    connector, timeout = aiohttp.TCPConnector(limit=64), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await asyncio.gather(*(evaluated(session, url, episode(each)) for each in rollouts))


@pytest.fixture(scope="module")
def carried(rollouts):
    """The step as CaRR can say it: it has no negative rubrics."""
    return [{**rollout, "negative_rubrics": []} for rollout in rollouts]


@pytest.fixture(scope="module")
def worth(carried):
    """What `/v1/score` gives for that."""
    with judged_service(by_content()) as judged:
        return judged.rewards(carried)


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(carried, worth):
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=40) as proxy,
    ):
        told = asyncio.run(step_of(carried, f"{proxy.url}/evaluate"))
        assert proxy.cut == 40
        assert judged.judge.calls == calls_for(carried)
    assert [each["reward"] for each in told] == worth
    assert [each["outcome_reward"] for each in told] == worth
    assert all(
        isinstance(scores["is_supported"], bool)
        for each in told
        for scores in each["rubric_scores"].values()
    )


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(carried, worth):
    with judged_service(Mortal(judged=4)) as judged:
        told = asyncio.run(step_of(carried, f"{judged.url}/evaluate"))
    failed = [each["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, worth)
    assert [each["reward"] for each in told] == [each["outcome_reward"] for each in told]
