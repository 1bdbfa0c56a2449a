"""axolotl's own NeMo Gym reward function; it reads `reward` alone, and any error as 0."""

import pytest

from support.judged_service import Mortal, calls_for, judged_service
from support.step_checks import cut_service, judged_or_flagged
from support.step_rollouts import by_content

pytestmark = pytest.mark.trainers

CUTS = 3
FEW = 32
"""It asks for one after the other."""


def test_a_step_arrives_in_order_and_is_judged_once(trainer, rollouts, expected, calls):
    with judged_service(by_content()) as judged:
        assert trainer("axolotl", rollouts, endpoint=f"{judged.url}/verify") == expected
        assert judged.judge.calls == calls


def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean(trainer, rollouts, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("axolotl", rollouts[:FEW], endpoint=f"{judged.url}/verify")
    # Asked one by one, the fifth sample is the first that is kept waiting until the judge dies.
    judged_or_flagged(told, [at >= 4 for at in range(FEW)], expected[:FEW])


def test_rollouts_that_are_posted_again_are_judged_once(trainer, rollouts, expected):
    few = rollouts[: 2 * CUTS]
    with cut_service(CUTS, calls_for(few)) as url:
        told = trainer("axolotl", few, endpoint=f"{url}/verify", tries=2)
    assert told == expected[: 2 * CUTS]
