"""slime's contract: a sample or a list of them, a float or a dict, and `remove_sample`."""

import asyncio
import enum
import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from callables.rows import ENVELOPE, QUESTION, RESPONSES, expected
from citemark_grpo.slime import rm
from citemark_schemas import SIGNALS, EnvelopeError


class Status(enum.Enum):
    """As slime spells them."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"


@dataclass
class Sample:
    """The fields of slime's class that matter here; slime cannot be installed without a GPU."""

    response: str
    prompt: Any = QUESTION
    label: Any = None
    metadata: dict[str, Any] = field(default_factory=lambda: dict(ENVELOPE))
    status: Status = Status.COMPLETED
    remove_sample: bool = False


def args(url, reward_key=None):
    return SimpleNamespace(rm_url=url, reward_key=reward_key)


async def test_every_reward_is_the_services_with_and_without_groups(citemark_url):
    samples = [Sample(response) for response in RESPONSES]
    wanted = expected(citemark_url)
    single = await asyncio.gather(*(rm(args(citemark_url), sample) for sample in samples))
    assert single == wanted
    assert await rm(args(citemark_url), samples) == wanted
    assert not any(sample.remove_sample for sample in samples)


async def test_with_a_reward_key_the_metrics_stay_on_the_sample(citemark_url):
    reward = await rm(args(citemark_url, "reward"), Sample(RESPONSES[0]))
    assert isinstance(reward, dict)
    assert reward.keys() == {"reward", *SIGNALS}
    assert reward["reward"] == expected(citemark_url)[0]


@pytest.mark.parametrize("label", [ENVELOPE, json.dumps(ENVELOPE)])
async def test_the_row_may_travel_in_the_label(citemark_url, label):
    sample = Sample(RESPONSES[0], label=label, metadata={"rm_type": "x"})
    assert await rm(args(citemark_url), sample) == expected(citemark_url)[0]


async def test_a_failed_sample_leaves_the_loss_and_its_groups_mean_alone(start):
    failing = {**ENVELOPE, "question": "fail"}
    samples = [Sample(RESPONSES[0]), Sample("no answer"), Sample(RESPONSES[1], metadata=failing)]
    rewards = await rm(args(start().server.url), samples)
    first, second, third = (reward for reward in rewards if isinstance(reward, float))
    assert second == 0.0
    assert third == pytest.approx((first + second) / 2)
    assert [sample.remove_sample for sample in samples] == [False, False, True]


async def test_a_service_that_cannot_be_reached_removes_the_sample(closed_url, monkeypatch):
    monkeypatch.setenv("CITEMARK_DEADLINE_S", "0.3")
    sample = Sample(RESPONSES[0])
    reward = await rm(args(closed_url, "reward"), sample)
    assert isinstance(reward, dict)
    assert (reward["reward"], reward["judge_failed"]) == (0.0, 1.0)
    assert sample.remove_sample


async def test_how_the_response_ended_is_told(service):
    samples = [Sample("x", status=Status.TRUNCATED), Sample("x")]
    samples.append(Sample("x", metadata={**ENVELOPE, "finish_reason": "tool"}))
    await rm(args(service.url), samples)
    (request,) = service.requests
    assert [item["finish_reason"] for item in request["items"]] == ["length", "stop", "tool"]


async def test_the_environment_names_the_service_where_no_flag_does(citemark_url, use):
    use(citemark_url)
    assert await rm(args(None), Sample(RESPONSES[0])) == expected(citemark_url)[0]


async def test_a_malformed_row_raises(citemark_url):
    bad = {**ENVELOPE, "positive_rubrics": "not JSON"}
    with pytest.raises(EnvelopeError, match=r"metadata\.positive_rubrics"):
        await rm(args(citemark_url), [Sample("x"), Sample("x", metadata=bad)])
