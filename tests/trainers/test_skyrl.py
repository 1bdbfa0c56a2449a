"""SkyRL's own environments with `citemark_grpo.skyrl`."""

import pytest

from citemark_schemas import SIGNALS
from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers


def job(rollouts):
    return {"rollouts": rollouts, "samples": SAMPLES}


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls
):
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=5) as proxy,
    ):
        told = trainer("skyrl", job(rollouts), CITEMARK_URL=proxy.url)
        assert proxy.cut == 5
        assert judged.judge.calls == calls
    assert [each["reward"] for each in told] == expected
    assert all(each["done"] and each["metrics"].keys() == set(SIGNALS) for each in told)


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("skyrl", job(rollouts), CITEMARK_URL=judged.url)
    failed = [each["metrics"]["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
