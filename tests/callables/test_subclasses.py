"""What subclasses a trainer's own classes, against stand-ins of those: SkyRL and open-instruct.

Neither trainer can be installed beside the tests. What is stood in for is in `stand_ins`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from callables.forms import ENVELOPE, FAILING, RESPONSES, expected
from citemark_schemas import SIGNALS

STAND_INS = Path(__file__).parent / "stand_ins"
SCRIPT = """
import asyncio, json, sys
from open_instruct.ground_truth_utils import VerifierFunction
(found,) = VerifierFunction.__subclasses__()
verifier = found(found.get_config_class().from_args(None, None))
rows = json.loads(sys.argv[1])
async def step():
    return await asyncio.gather(*(
        verifier.async_call(tokenized_prediction=[], query="", rollout_state=None, **row)
        for row in rows
    ))
scored = [*asyncio.run(step()), verifier([], **rows[0])]
module = type(verifier).__module__
print(json.dumps([verifier.name, module, [[each.score, each.reasoning] for each in scored]]))
"""


def start_trainer(*arguments, cwd, **variables):
    environ = {**os.environ, "PYTHONPATH": str(STAND_INS), **variables}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def run(*arguments, **options):
    """What a trainer that is started like this prints last, as JSON."""
    done = start_trainer(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def run_open_instruct(folder, url, rows):
    (folder / "grpo_fast.py").write_text(SCRIPT)
    arguments = ("citemark_grpo.open_instruct", "grpo_fast.py", json.dumps(rows))
    return run(*arguments, cwd=folder, CITEMARK_URL=url)


def test_open_instructs_script_finds_the_verifier_and_gets_the_services_rewards(
    citemark_url, tmp_path
):
    labels = (ENVELOPE, json.dumps(ENVELOPE))
    rows = [{"prediction": each, "label": label} for label in labels for each in RESPONSES]
    name, module, scored = run_open_instruct(tmp_path, citemark_url, rows)
    assert (name, module) == ("citemark", "citemark_grpo.open_instruct")
    wanted = expected(citemark_url)
    assert scored == [[reward, None] for reward in [*wanted, *wanted, wanted[0]]]


def test_open_instruct_gets_the_mean_for_a_failed_judge_and_is_told(start, tmp_path):
    label = {**ENVELOPE, "group": "g"}
    rows = [{"prediction": each, "label": label} for each in (RESPONSES[0], FAILING)]
    _, _, scored = run_open_instruct(tmp_path, start().server.url, rows)
    (known, nothing), (stand_in, reason), _ = scored
    assert known == stand_in > 0
    assert nothing is None
    assert reason.startswith("judge_failed: judge_unreachable")


@pytest.mark.parametrize("override", [[], ["trainer.override_entrypoint=citemark_grpo.skyrl"]])
def test_skyrl_plays_an_episode_of_one_turn(citemark_url, tmp_path, override):
    spec = {"ground_truth": json.dumps(ENVELOPE)}
    row = {"reward_spec": spec, "max_turns": 1, "action": RESPONSES[0]}
    flags = ["environment.env_class=citemark", json.dumps(row), *override]
    played = run("citemark_grpo.skyrl", *flags, cwd=tmp_path, CITEMARK_URL=citemark_url)
    step, metrics = played["step"], played["metrics"]
    assert step["reward"] == expected(citemark_url)[0]
    assert step["done"]
    assert step["observations"] == []
    assert step["metadata"] == metrics
    assert metrics.keys() == played["before"].keys() == set(SIGNALS)


def test_skyrl_goes_on_when_the_judge_fails_and_counts_it(start, tmp_path):
    row = {**ENVELOPE, "question": "fail", "action": RESPONSES[0]}
    flags = ["environment.env_class=citemark", json.dumps(row)]
    environ = {"CITEMARK_URL": start().server.url, "CITEMARK_FALLBACK_REWARD": "0.25"}
    played = run("citemark_grpo.skyrl", *flags, cwd=tmp_path, **environ)
    assert played["step"]["reward"] == 0.25
    assert played["metrics"]["judge_failed"] == 1.0


@pytest.mark.parametrize("module", ["citemark_grpo.skyrl", "citemark_grpo.open_instruct"])
def test_without_a_service_nothing_is_started(tmp_path, module):
    done = start_trainer(module, "x.py", cwd=tmp_path)
    assert done.returncode != 0
    assert "export CITEMARK_URL" in done.stderr
