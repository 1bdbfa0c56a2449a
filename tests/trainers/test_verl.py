"""verl's own reward loop, in Ray, with `pkg://citemark_grpo.verl`."""

import pytest

from citemark_schemas import SIGNALS
from support.judged_service import Mortal, judged_service
from support.step_checks import cut_service, judged_or_flagged

pytestmark = pytest.mark.trainers


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls
):
    with cut_service(5, calls) as url:
        told = trainer("verl", rollouts, url=url, manager="naive")
    assert told["rewards"] == pytest.approx(expected, abs=1e-6)
    assert told["extra"].keys() == {"score", *SIGNALS}


@pytest.mark.parametrize("manager", ["naive", "rate_limited"])
def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected, manager
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("verl", rollouts, url=judged.url, manager=manager)
    failed = [flag == 1.0 for flag in told["extra"]["judge_failed"]]
    judged_or_flagged(told["rewards"], failed, expected)
    assert told["extra"].keys() == {"score", *SIGNALS}
    for at, advantage in enumerate(told["advantages"]):
        assert not failed[at] or advantage == pytest.approx(0.0, abs=1e-3)
