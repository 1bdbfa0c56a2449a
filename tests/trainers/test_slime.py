"""What slime's remote reward model puts on the wire. slime is not published as a package.

One shared session with 64 connections, 120 s for a request with its wait for a connection, 10
tries on any error with growing pauses; the whole body is the sample's reward, of which
`--reward-key reward` picks one.
"""

import asyncio
import json
import random

import aiohttp

from citemark_schemas import SIGNALS
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, judged_service
from support.step_checks import judged_or_flagged
from support.step_rollouts import by_content

_TRIES = 10


def sample(rollout):
    """The body of one request; the row's label is all that travels of it."""
    row = {name: value for name, value in rollout.items() if name not in ("id", "response")}
    label = json.dumps(row)
    return {"prompt": rollout["question"], "response": rollout["response"], "label": label}


async def rewarded(session, url, body):
    """One sample's reward; an error after the tenth try ends the run."""
    for attempt in range(_TRIES):
        try:
            async with session.post(url, json=body) as reply:
                reply.raise_for_status()
                return await reply.json()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(min(2**attempt, 30) + random.random())
    raise AssertionError("slime would end the run")


async def step_of(rollouts, url):
    """The rewards of a step, asked for all at once."""
    connector, timeout = aiohttp.TCPConnector(limit=64), aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return await asyncio.gather(*(rewarded(session, url, sample(each)) for each in rollouts))


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    rollouts, expected, calls
):
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=40) as proxy,
    ):
        told = asyncio.run(step_of(rollouts, f"{proxy.url}/rm"))
        assert proxy.cut == 40
        assert judged.judge.calls == calls
    assert [each["reward"] for each in told] == expected
    assert all(set(SIGNALS) <= each.keys() for each in told)


def test_without_a_reward_key_the_body_is_a_bare_number(rollouts, expected):
    with judged_service(by_content()) as judged:
        told = asyncio.run(step_of(rollouts[:8], f"{judged.url}/rm?format=scalar"))
    assert told == expected[:8]
    assert all(isinstance(each, float) for each in told)


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(rollouts, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = asyncio.run(step_of(rollouts, f"{judged.url}/rm"))
        bare = asyncio.run(step_of(rollouts, f"{judged.url}/rm?format=scalar"))
    failed = [each["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
    judged_or_flagged(bare, failed, expected)
