"""OpenRLHF's own executor and experience maker, with a URL and with the Python file."""

import pytest

import citemark_grpo.openrlhf
from citemark_schemas import SIGNALS
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers


def job(rollouts, reward_url):
    return {"rollouts": rollouts, "samples": SAMPLES, "reward_url": reward_url}


def flat(told):
    """Batches of one, as OpenRLHF makes them of lists."""
    return [value for (value,) in told]


@pytest.fixture(params=["url", "file"])
def reward_url(request):
    """What the flag `--reward.remote_url` says."""
    path = citemark_grpo.openrlhf.__file__
    return lambda url: f"{url}/get_reward" if request.param == "url" else path


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls, reward_url
):
    with (
        # Quick, because the file form has OpenRLHF's threads: four more than there are cores.
        judged_service(by_content(delay_s=0.2)) as judged,
        cutting_proxy(judged.url, cuts=5, after_s=0.1) as proxy,
    ):
        told = trainer("openrlhf", job(rollouts, reward_url(proxy.url)), CITEMARK_URL=proxy.url)
        assert proxy.cut == 5
        assert judged.judge.calls == calls
    assert flat(told["rewards"]) == pytest.approx(expected, abs=1e-6)
    assert set(SIGNALS) <= told["info"].keys()


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected, reward_url
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("openrlhf", job(rollouts, reward_url(judged.url)), CITEMARK_URL=judged.url)
    failed = [flag == 1.0 for flag in flat(told["info"]["judge_failed"])]
    judged_or_flagged(flat(told["rewards"]), failed, expected)
    for at, advantage in enumerate(told["advantages"]):
        assert not failed[at] or advantage == pytest.approx(0.0, abs=1e-6)
