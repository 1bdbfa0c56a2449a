"""verl's own reward loop, in Ray, with `pkg://citemark_grpo.verl`."""

import pytest

from citemark_schemas import SIGNALS
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers


def job(rollouts, url, manager):
    return {"rollouts": rollouts, "samples": SAMPLES, "url": url, "manager": manager}


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls
):
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=5) as proxy,
    ):
        told = trainer("verl", job(rollouts, proxy.url, "naive"))
        assert proxy.cut == 5
        assert judged.judge.calls == calls
    assert told["rewards"] == pytest.approx(expected, abs=1e-6)
    assert told["extra"].keys() == {"score", *SIGNALS}


@pytest.mark.parametrize("manager", ["naive", "rate_limited"])
def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected, manager
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("verl", job(rollouts, judged.url, manager))
    failed = [flag == 1.0 for flag in told["extra"]["judge_failed"]]
    judged_or_flagged(told["rewards"], failed, expected)
    assert told["extra"].keys() == {"score", *SIGNALS}
    for at, advantage in enumerate(told["advantages"]):
        assert not failed[at] or advantage == pytest.approx(0.0, abs=1e-3)
