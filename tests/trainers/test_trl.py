"""TRL's own GRPOTrainer with `citemark_grpo.trl.rubric_reward`."""

import pytest

from citemark_schemas import SIGNALS
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, cut_service

pytestmark = pytest.mark.trainers


def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    trainer, rollouts, expected, calls
):
    with cut_service(5, calls) as url:
        told = trainer("trl", rollouts, citemark_url=url)
    assert told["completions"] == [rollout["response"] for rollout in rollouts]
    assert told["rewards"] == pytest.approx(expected, abs=1e-6)
    assert set(told["failures"]) == {""}
    assert {f"citemark/{name}" for name in SIGNALS} <= told["logged"].keys()


def test_what_a_dead_judge_left_unjudged_moves_neither_policy_nor_baseline(
    trainer, rollouts, expected
):
    with judged_service(Mortal(judged=4)) as judged:
        told = trainer("trl", rollouts, citemark_url=judged.url)
    rewards, advantages = told["rewards"], told["advantages"]
    failed = [reward is None for reward in rewards]
    assert failed == [at % SAMPLES >= 4 for at in range(len(rollouts))]
    assert [bool(reason) for reason in told["failures"]] == failed
    assert told["logged"]["citemark/judge_failed"] == pytest.approx(0.5)
    for start in range(0, len(rollouts), SAMPLES):
        valid = expected[start : start + 4]
        mean = sum(valid) / 4
        spread = (sum((reward - mean) ** 2 for reward in valid) / 3) ** 0.5
        assert rewards[start : start + 4] == pytest.approx(valid, abs=1e-6)
        wanted = [(reward - mean) / (spread + 1e-4) for reward in valid]
        assert advantages[start : start + 4] == pytest.approx(wanted, abs=1e-3)
        assert advantages[start + 4 : start + SAMPLES] == [0.0] * 4
