"""A step of training through each trainer's own client code, see `drivers`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from citemark_schemas import SIGNALS
from citemark_service.cli import main
from support.judged_service import Mortal, judged_service
from support.step_checks import SAMPLES, cut_service, judged_or_absent, judged_or_flagged
from trainers.conftest import CALLS

pytestmark = pytest.mark.trainers


@dataclass(frozen=True)
class Way:
    """A way of a trainer to its rewards, and what is particular of it."""

    driver: str
    way: str = ""
    few: int = 256
    """How many rollouts of the step it is given."""
    cuts: int = 5
    judge_s: float = 0.6
    idle_s: float = 3.0
    rounding: float = 0.0
    """How far single precision may move a reward."""
    residue: float = 1e-6
    """The same for an advantage of 0."""
    only_signals: bool = False

    def __str__(self) -> str:
        return f"{self.driver} {self.way}".strip()


AXOLOTL = Way("axolotl", few=32, cuts=3, judge_s=0.2)
"""It asks for one after the other."""
TRL = Way("trl", rounding=1e-6)
EVAL_PROTOCOL = Way("eval_protocol")
VERL = Way("verl", "naive", rounding=1e-6, residue=1e-3, only_signals=True)
# Quick, because the file form has OpenRLHF's threads: four more than there are cores.
OPENRLHF = [Way("openrlhf", way, judge_s=0.2, rounding=1e-6) for way in ("url", "file")]
NEMO_GYM = [Way("nemo_gym", way) for way in ("service", "scaffold")]
SKYRL = Way("skyrl", only_signals=True)
VERIFIERS = [Way("verifiers", way) for way in ("reward", "judge", "gym")]


@pytest.fixture
def step(way: Way, trainer, rollouts, tmp_path):
    """`step(url)`: what the trainer makes of the step with the service at `url`."""
    job: dict[str, Any] = {"way": way.way}
    if way.way == "scaffold":
        written = CliRunner().invoke(main, ["scaffold", "nemo-gym", str(tmp_path)])
        assert written.exit_code == 0, written.output
        job["scaffold"] = str(Path(tmp_path, "resources_servers", "citemark", "app.py"))
    return lambda url: trainer(way.driver, url, rollouts[: way.few], **job)


@pytest.mark.parametrize(
    "way", [AXOLOTL, EVAL_PROTOCOL, *NEMO_GYM, *OPENRLHF, SKYRL, TRL, *VERIFIERS, VERL], ids=str
)
def test_a_step_arrives_in_order_and_is_judged_once_though_connections_break(
    way, step, rollouts, expected
):
    pace = {"delay_s": way.judge_s, "after_s": way.judge_s / 2}
    with cut_service(way.cuts, CALLS * way.few, **pace) as url:
        told = step(url)
    assert told["rewards"] == pytest.approx(expected[: way.few], rel=0, abs=way.rounding)
    assert not any(map(any, told.get("flags", [])))
    names = set(told.get("names", SIGNALS))
    assert names == set(SIGNALS) if way.only_signals else names >= set(SIGNALS)
    responses = [rollout["response"] for rollout in rollouts[: way.few]]
    assert told.get("responses", responses) == responses


@pytest.mark.parametrize(
    "way",
    [AXOLOTL, EVAL_PROTOCOL, *NEMO_GYM, *OPENRLHF, SKYRL, VERL, replace(VERL, way="rate_limited")],
    ids=str,
)
def test_what_a_dead_judge_left_unjudged_gets_its_prompts_mean_and_every_flag(way, step, expected):
    with judged_service(Mortal(judged=4)) as judged:
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
    [
        Way("eval_protocol", "http"),
        *(replace(each, few=64, idle_s=6.0) for each in VERIFIERS),
    ],
    ids=str,
)
def test_what_a_dead_judge_left_unjudged_is_left_out(way, step, expected):
    with judged_service(Mortal(judged=4, idle_s=way.idle_s)) as judged:
        told = step(judged.url)
    judged_or_absent(told["rewards"], expected[: way.few])
    assert not any(map(any, told["flags"]))


@pytest.mark.parametrize("way", [TRL], ids=str)
def test_what_trls_dead_judge_left_unjudged_moves_neither_policy_nor_baseline(step, expected):
    with judged_service(Mortal(judged=4)) as judged:
        told = step(judged.url)
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
