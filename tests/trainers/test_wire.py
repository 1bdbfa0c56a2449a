"""What clients put on the wire that are not published as packages, and OpenRLHF's.

slime and CaRR's fork of it have one session of 64 connections, 120 s for a request with its wait
for a connection, and 10 tries on any error with growing pauses. The others have a connection for
each rollout; open-instruct takes any error as a 0 that is trained on, but here it tries again too.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import aiohttp
import httpx
import pytest

from citemark_schemas import SIGNALS
from support.dialect_bodies import for_open_instruct, for_openrlhf, for_slime
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, cut_service, judged_or_flagged
from support.step_rollouts import by_content

ROUTE = {"test_program_route": True}


@dataclass(frozen=True)
class Client:
    path: str
    body: Callable[[dict[str, Any]], dict[str, Any]]
    reward: Callable[[Any], float]
    failed: Callable[[Any], float] | None = None
    """The flag of a failed judge; None where nothing in the answer tells a stand-in."""
    connections: int = 256

    @property
    def shown(self) -> int:
        """Rollouts that a judge is shown that keeps every second one waiting."""
        return min(2 * self.connections, 256)


def for_carr(rollout: dict[str, Any]) -> dict[str, Any]:
    call = {"id": "1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    against = [{"description": e, "polarity": "negative"} for e in rollout["negative_rubrics"]]
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
            "rubric_reward_ratio": 0.3,
            "rubrics": [*rollout["positive_rubrics"], *against],
        },
    }


def read_carr(answer):
    scores = answer["rubric_scores"].values()
    assert len(scores) == (0 if answer["judge_failed"] else 3)
    assert all(isinstance(each["is_supported"], bool) for each in scores)
    assert answer["outcome_reward"] == answer["reward"]
    return answer["reward"]


def read_slime(answer):
    assert set(SIGNALS) <= answer.keys()
    return answer["reward"]


def read_openrlhf(answer):
    assert answer["rewards"] == answer["scores"]
    assert answer["extra_logs"].keys() == set(SIGNALS)
    return answer["rewards"][0]


CLIENTS = {
    "slime": Client("/rm", for_slime, read_slime, lambda answer: answer["judge_failed"], 64),
    "slime, scalar": Client("/rm?format=scalar", for_slime, lambda answer: answer),
    "carr": Client("/evaluate", for_carr, read_carr, lambda answer: answer["judge_failed"], 64),
    "openrlhf": Client(
        "/get_reward",
        for_openrlhf,
        read_openrlhf,
        lambda answer: answer["extra_logs"]["judge_failed"][0],
    ),
    "open-instruct": Client(
        "/test_program?deadline_s=110", for_open_instruct, lambda answer: fmean(answer["results"])
    ),
}


async def post_until_answered(session: aiohttp.ClientSession, url: str, body: Any) -> Any:
    for attempt in range(10):
        try:
            async with session.post(url, json=body) as reply:
                reply.raise_for_status()
                return await reply.json()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(min(2**attempt, 30) + random.random())
    raise AssertionError("the trainer would end the run")


def step_of(client: Client, rollouts: list[dict[str, Any]], url: str) -> list[Any]:
    """The answers of a step, asked for all at once."""

    async def post() -> list[Any]:
        connector = aiohttp.TCPConnector(limit=client.connections)
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            posts = [
                post_until_answered(session, url + client.path, client.body(each))
                for each in rollouts
            ]
            return await asyncio.gather(*posts)

    return asyncio.run(post())


@pytest.fixture(params=CLIENTS)
def client(request) -> Client:
    return CLIENTS[request.param]


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    client, rollouts, expected
):
    with cut_service(40, len(rollouts), **ROUTE) as url:
        answers = step_of(client, rollouts, url)
    rewards = [client.reward(answer) for answer in answers]
    assert rewards == expected
    assert {type(reward) for reward in rewards} == {float}


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    client, rollouts, expected
):
    with judged_service(Mortal(judged=4, shown=client.shown), **ROUTE) as judged:
        answers = step_of(client, rollouts, judged.url)
    # Where nothing tells a stand-in, the judge was shown all, and answered 4 of each 8.
    failed = [
        client.failed(answer) == 1.0 if client.failed else at % SAMPLES >= 4
        for at, answer in enumerate(answers)
    ]
    judged_or_flagged([client.reward(answer) for answer in answers], failed, expected)


def test_the_route_of_open_instruct_is_off_unless_asked_for(rollouts):
    with judged_service(by_content()) as judged:
        url = judged.url + CLIENTS["open-instruct"].path
        assert httpx.post(url, json=for_open_instruct(rollouts[0])).status_code == 404
