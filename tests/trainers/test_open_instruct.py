"""What open-instruct's code verifier puts on the wire. It is not published as a package.

One request a rollout, in threads, 30 s at the least; the score is the mean of `results`, and any
error is a 0 that is trained on. `citemark_grpo.open_instruct` is the better way where a runner can
be used; its tests stand in `callables`.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

import pytest
import requests

from support.judged_service import Mortal, judged_service
from support.step_checks import cut_service, judged_or_flagged
from support.step_rollouts import by_content

_THREADS = 256
ROUTE = {"test_program_route": True}


def posted(url, rollout):
    """One verification, as the client asks for it."""
    row = {name: value for name, value in rollout.items() if name not in ("id", "response")}
    body = {"program": rollout["response"], "tests": json.dumps(row), "max_execution_time": 1.0}
    reply = requests.post(url, json=body, timeout=30)
    reply.raise_for_status()
    results = reply.json()["results"]
    return fmean(results)


def step_of(rollouts, url, tries=1):
    """The scores of a step, asked for all at once."""

    def score(rollout):
        for _ in range(tries):
            try:
                return posted(url, rollout)
            except requests.exceptions.RequestException:
                continue
        return 0.0

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(score, rollouts))


def test_a_step_arrives_in_order_and_is_judged_once_though_it_is_posted_again(
    rollouts, expected, calls
):
    with cut_service(40, calls, **ROUTE) as url:
        told = step_of(rollouts, f"{url}/test_program", tries=9)  # a re-post may be cut as well
    assert told == expected


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean(rollouts, expected):
    with judged_service(Mortal(judged=4), **ROUTE) as judged:
        told = step_of(rollouts, f"{judged.url}/test_program")
    # Nothing in the answer tells a stand-in: what the judge had answered is known here alone.
    judged_or_flagged(told, [at % 8 >= 4 for at in range(len(rollouts))], expected)


def test_the_route_is_off_unless_asked_for(rollouts):
    with judged_service(by_content()) as judged, pytest.raises(requests.HTTPError):
        posted(f"{judged.url}/test_program", rollouts[0])
