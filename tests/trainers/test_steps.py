"""A step of training through each trainer's own client code."""

import pytest

from citemark_schemas import SIGNALS
from support.step_checks import cut_service
from trainers.ways import (
    AXOLOTL,
    EVAL_PROTOCOL,
    NEMO_GYM,
    OPENRLHF,
    SKYRL,
    TRL,
    VERIFIERS,
    VERL,
)

pytestmark = pytest.mark.trainers


@pytest.mark.parametrize(
    "way", [AXOLOTL, EVAL_PROTOCOL, *NEMO_GYM, *OPENRLHF, SKYRL, TRL, *VERIFIERS, VERL], ids=str
)
def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    way, step, rollouts, expected
):
    pace = {"delay_s": way.judge_s, "after_s": way.judge_s / 2}
    with cut_service(way.cuts, way.few, **pace) as url:
        told = step(url, tries=way.cuts + 1)
    assert told["rewards"] == pytest.approx(expected[: way.few], rel=0, abs=way.rounding)
    assert not any(map(any, told.get("flags", [])))
    names = set(told.get("names", SIGNALS))
    assert names == set(SIGNALS) if way.only_signals else names >= set(SIGNALS)
    responses = [rollout["response"] for rollout in rollouts[: way.few]]
    assert told.get("responses", responses) == responses
