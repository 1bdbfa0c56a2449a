"""What slime's remote reward model and CaRR's fork of it put on the wire; neither is a package.

One shared session with 64 connections, 120 s for a request with its wait for a connection, 10
tries on any error with growing pauses. Of slime the whole body is the sample's reward, of which
`--reward-key reward` picks one. CaRR sends a history of messages with what tools answered, and
reads `outcome_reward`, `rubric_reward` and each rubric's `is_supported`.
"""

import asyncio
import json
import random

import aiohttp
import pytest

from citemark_schemas import SIGNALS
from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import cut_service, judged_or_flagged
from support.step_rollouts import by_content

_TRIES = 10


def sample(rollout):
    """The body of slime's request; the row's label is all that travels of it."""
    row = {name: value for name, value in rollout.items() if name not in ("id", "response")}
    label = json.dumps(row)
    return {"prompt": rollout["question"], "response": rollout["response"], "label": label}


def episode(rollout):
    """The body of CaRR's request."""
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


async def rewarded(session, url, body):
    """One sample's answer; an error after the tenth try ends the run."""
    for attempt in range(_TRIES):
        try:
            async with session.post(url, json=body) as reply:
                reply.raise_for_status()
                return await reply.json()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(min(2**attempt, 30) + random.random())
    raise AssertionError("the trainer would end the run")


def step_of(bodies, url):
    """The answers of a step, asked for all at once."""

    async def post():
        connector, timeout = aiohttp.TCPConnector(limit=64), aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            return await asyncio.gather(*(rewarded(session, url, body) for body in bodies))

    return asyncio.run(post())


@pytest.fixture(scope="module")
def samples(rollouts):
    return [sample(rollout) for rollout in rollouts]


@pytest.fixture(scope="module")
def carried(rollouts):
    """The step as CaRR can say it: it has no negative rubrics."""
    return [{**rollout, "negative_rubrics": []} for rollout in rollouts]


@pytest.fixture(scope="module")
def worth(carried):
    """What `/v1/score` gives for that."""
    with judged_service(by_content()) as judged:
        return judged.rewards(carried)


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    samples, expected, calls
):
    with cut_service(40, calls) as url:
        told = step_of(samples, f"{url}/rm")
    assert [each["reward"] for each in told] == expected
    assert all(set(SIGNALS) <= each.keys() for each in told)


def test_without_a_reward_key_the_body_is_a_bare_number(samples, expected):
    with judged_service(by_content()) as judged:
        told = step_of(samples[:8], f"{judged.url}/rm?format=scalar")
    assert told == expected[:8]
    assert all(isinstance(each, float) for each in told)


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(samples, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = step_of(samples, f"{judged.url}/rm")
        bare = step_of(samples, f"{judged.url}/rm?format=scalar")
    failed = [each["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
    judged_or_flagged(bare, failed, expected)


def test_carrs_step_arrives_in_order_and_is_judged_once_though_connections_break(carried, worth):
    with cut_service(40, calls_for(carried)) as url:
        told = step_of(map(episode, carried), f"{url}/evaluate")
    assert [each["reward"] for each in told] == worth
    assert [each["outcome_reward"] for each in told] == worth
    scores = [scores for each in told for scores in each["rubric_scores"].values()]
    assert all(isinstance(each["is_supported"], bool) for each in scores)


def test_what_carrs_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(carried, worth):
    with judged_service(Mortal(judged=4)) as judged:
        told = step_of(map(episode, carried), f"{judged.url}/evaluate")
    failed = [each["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, worth)
    assert [each["reward"] for each in told] == [each["outcome_reward"] for each in told]
