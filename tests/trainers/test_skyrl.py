"""SkyRL's own environments with `citemark_grpo.skyrl`."""

import pytest

from citemark_schemas import SIGNALS
from support.judged_service import Mortal, judged_service
from support.step_checks import cut_service, judged_or_flagged

pytestmark = pytest.mark.trainers


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls
):
    with cut_service(5, calls) as url:
        told = trainer("skyrl", rollouts, citemark_url=url)
    assert [each["reward"] for each in told] == expected
    assert all(each["done"] and each["metrics"].keys() == set(SIGNALS) for each in told)


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("skyrl", rollouts, citemark_url=judged.url)
    failed = [each["metrics"]["judge_failed"] == 1.0 for each in told]
    judged_or_flagged([each["reward"] for each in told], failed, expected)
