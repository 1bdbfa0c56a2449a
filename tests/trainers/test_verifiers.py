"""verifiers' own scoring: a plugged reward, the judge plugin, and its NeMo Gym task set by URL."""

import pytest

from citemark_schemas import SIGNALS
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import judged_or_absent
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers

CUTS = 5
FEW = 64


@pytest.fixture(params=["reward", "judge", "gym"])
def way(request):
    """How the reward is plugged."""
    return request.param


@pytest.fixture
def told_of(trainer, way):
    """What verifiers makes of rollouts with the service at a URL."""

    def run(rollouts, url, **job):
        root = f"{url}/strict" if way == "gym" else url
        return trainer("verifiers", rollouts, citemark_url=url, url=root, way=way, **job)

    return run


def test_a_step_arrives_in_order_and_is_judged_once(told_of, rollouts, expected, calls, way):
    with judged_service(by_content()) as judged:
        told = told_of(rollouts, judged.url)
        assert judged.judge.calls == calls
    assert [each["reward"] for each in told] == expected
    names = set(SIGNALS) if way == "gym" else {f"citemark_{name}" for name in SIGNALS}
    assert all(names <= each["metrics"].keys() for each in told)


def test_traces_that_a_dead_judge_left_unjudged_are_errors_and_no_others(
    told_of, rollouts, expected
):
    with judged_service(Mortal(judged=4, idle_s=6.0)) as judged:
        told = told_of(rollouts[:FEW], judged.url)
    judged_or_absent([each and each["reward"] for each in told], expected[:FEW])
    assert all(each is None or not each["metrics"].get("mask_sample") for each in told)


def test_a_retried_rollout_is_judged_once(told_of, rollouts, expected):
    few = rollouts[:CUTS]
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=CUTS) as proxy,
    ):
        told = told_of(few, proxy.url, tries=9)
        assert proxy.cut > 0
        assert judged.judge.calls == calls_for(few)
    assert [each["reward"] for each in told] == expected[:CUTS]
