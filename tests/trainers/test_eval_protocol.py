"""eval-protocol's own remote reward function."""

import pytest

from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import cut_service, judged_or_absent, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers

CUTS = 5


def test_a_step_arrives_in_order_and_is_judged_once(trainer, rollouts, expected, calls):
    with judged_service(by_content()) as judged:
        told = trainer("eval_protocol", rollouts, endpoint=f"{judged.url}/evaluate")
        assert judged.judge.calls == calls
    assert [each["score"] for each in told] == expected
    assert all(each["metrics"]["judge_failed"]["score"] == 0.0 for each in told)


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_a_flag(
    trainer, rollouts, expected
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("eval_protocol", rollouts, endpoint=f"{judged.url}/evaluate")
    failed = [each["metrics"]["judge_failed"]["score"] == 1.0 for each in told]
    judged_or_flagged([each["score"] for each in told], failed, expected)
    valid = [each["metrics"]["rubric_reward"]["is_score_valid"] for each in told]
    assert valid == [not each for each in failed]


def test_or_its_client_raises_where_the_url_asks_for_that(trainer, rollouts, expected):
    with judged_service(Mortal(judged=4)) as judged:
        endpoint = f"{judged.url}/evaluate?on_error=http"
        told = trainer("eval_protocol", rollouts, endpoint=endpoint)
    judged_or_absent([each and each["score"] for each in told], expected)


def test_a_rollout_that_is_posted_again_is_judged_once(trainer, rollouts, expected):
    few = rollouts[:CUTS]
    with cut_service(CUTS, calls_for(few)) as url:
        told = trainer("eval_protocol", few, endpoint=f"{url}/evaluate", tries=9)
    assert [each["score"] for each in told] == expected[:CUTS]
