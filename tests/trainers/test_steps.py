"""A step of training through each trainer's own client code, and one whose judge dies."""

from dataclasses import replace

import pytest

from citemark_schemas import SIGNALS
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, cut_service, judged_or_absent, judged_or_flagged
from trainers.ways import (
    AXOLOTL,
    EVAL_PROTOCOL,
    NEMO_GYM,
    OPENRLHF,
    SKYRL,
    TRL,
    VERIFIERS,
    VERL,
    Way,
)

pytestmark = pytest.mark.trainers

RATE_LIMITED = replace(VERL, way="rate_limited")


def few(*ways: Way) -> list[Way]:
    return [replace(way, few=min(way.few, 64)) for way in ways]


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


@pytest.mark.parametrize(
    "way",
    few(AXOLOTL, EVAL_PROTOCOL, *NEMO_GYM, *OPENRLHF, SKYRL, VERL, RATE_LIMITED),
    ids=str,
)
def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_every_flag(way, step, expected):
    with judged_service(Mortal(judged=4, shown=way.shown)) as judged:
        told = step(judged.url)
    # axolotl reads no flag; asked one by one, the fifth is the first that waits until the death.
    flags = told.get("flags", [[at >= 4] for at in range(way.few)])
    assert all(set(each) in ({0.0}, {1.0}) for each in flags)
    assert set(told.get("names", SIGNALS)) >= set(SIGNALS)
    failed = [any(each) for each in flags]
    judged_or_flagged(told["rewards"], failed, expected[: way.few])
    for at, advantage in enumerate(told.get("advantages", [])):
        assert not failed[at] or advantage == pytest.approx(0.0, abs=way.residue)


@pytest.mark.parametrize(
    "way",
    few(replace(EVAL_PROTOCOL, way="http"), *VERIFIERS),
    ids=str,
)
def test_what_a_dead_judge_left_unjudged_is_left_out(way, step, expected):
    with judged_service(Mortal(judged=4, shown=way.shown)) as judged:
        told = step(judged.url)
    judged_or_absent(told["rewards"], expected[: way.few])
    assert not any(map(any, told["flags"]))


@pytest.mark.parametrize("way", few(TRL), ids=str)
def test_what_trls_dead_judge_left_unjudged_moves_neither_policy_nor_baseline(way, step, expected):
    with judged_service(Mortal(judged=4, shown=way.shown)) as judged:
        told = step(judged.url)
    expected = expected[: way.few]
    assert told["flags"] == [[float(at % SAMPLES >= 4)] for at in range(len(expected))]
    assert told["judge_failed"] == pytest.approx(0.5)
    for start in range(0, len(expected), SAMPLES):
        valid = expected[start : start + 4]
        rewards, advantages = (
            told[name][start : start + SAMPLES] for name in ("rewards", "advantages")
        )
        assert rewards[:4] == pytest.approx(valid, abs=1e-6)
        assert rewards[4:] == [None] * 4
        mean = sum(valid) / 4
        spread = (sum((reward - mean) ** 2 for reward in valid) / 3) ** 0.5
        wanted = [(reward - mean) / (spread + 1e-4) for reward in valid]
        assert advantages[:4] == pytest.approx(wanted, abs=1e-3)
        assert advantages[4:] == [0.0] * 4
