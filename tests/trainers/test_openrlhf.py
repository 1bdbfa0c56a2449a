"""OpenRLHF's own executor and experience maker, with a URL and with the Python file."""

import pytest

import citemark_grpo.openrlhf
from citemark_schemas import SIGNALS
from support.judged_service import Mortal, judged_service
from support.step_checks import cut_service, judged_or_flagged

pytestmark = pytest.mark.trainers


@pytest.fixture(params=["url", "file"])
def told_of(request, trainer, rollouts):
    """What OpenRLHF makes of the step where `--reward.remote_url` says the URL, or the file."""
    file = citemark_grpo.openrlhf.__file__

    def run(url):
        reward_url = f"{url}/get_reward" if request.param == "url" else file
        return trainer("openrlhf", rollouts, reward_url=reward_url, citemark_url=url)

    return run


def flat(told):
    """Batches of one, as OpenRLHF makes them of lists."""
    return [value for (value,) in told]


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    told_of, expected, calls
):
    # Quick, because the file form has OpenRLHF's threads: four more than there are cores.
    with cut_service(5, calls, delay_s=0.2, after_s=0.1) as url:
        told = told_of(url)
    assert flat(told["rewards"]) == pytest.approx(expected, abs=1e-6)
    assert set(SIGNALS) <= told["info"].keys()


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(told_of, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = told_of(judged.url)
    failed = [flag == 1.0 for flag in flat(told["info"]["judge_failed"])]
    judged_or_flagged(flat(told["rewards"]), failed, expected)
    for at, advantage in enumerate(told["advantages"]):
        assert not failed[at] or advantage == pytest.approx(0.0, abs=1e-6)
