"""axolotl's own NeMo Gym reward function; it reads `reward` alone, and any error as 0."""

import pytest

from support.cutting_proxy import cutting_proxy
from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import SAMPLES, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers

CUTS = 3
FEW = 32
"""It asks for one after the other."""


def job(rollouts, url, **more):
    return {"rollouts": rollouts, "samples": SAMPLES, "endpoint": f"{url}/verify", **more}


def test_a_step_arrives_in_order_and_is_judged_once(trainer, rollouts, expected, calls):
    with judged_service(by_content()) as judged:
        told = trainer("axolotl", job(rollouts, judged.url))
        assert judged.judge.calls == calls
    assert told == expected


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean(trainer, rollouts, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("axolotl", job(rollouts[:FEW], judged.url))
    # Asked one by one, the fifth sample is the first that is kept waiting until the judge dies.
    judged_or_flagged(told, [at >= 4 for at in range(FEW)], expected[:FEW])


def test_rollouts_that_are_posted_again_are_judged_once(trainer, rollouts, expected):
    few = rollouts[: 2 * CUTS]
    with (
        judged_service(by_content(delay_s=0.6)) as judged,
        cutting_proxy(judged.url, cuts=CUTS) as proxy,
    ):
        told = trainer("axolotl", job(few, proxy.url, tries=2))
        assert proxy.cut == CUTS
        assert judged.judge.calls == calls_for(few)
    assert told == expected[: 2 * CUTS]
