"""A step of a training run, what `/v1/score` says of it, and the trainers to send it with."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.judged_service import judged_service
from support.step_checks import SAMPLES
from support.step_rollouts import by_content, step

CALLS = 3
"""What one judgement of a rollout costs in calls of the judge: criteria, claims, evidence."""
ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-trainers" / "bin" / "python"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in ("schemas", "grpo")),
    "PYTHONWARNINGS": "ignore",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Nothing of a user's own settings, and nothing fetched."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trainers take their time to be imported."""
    for item in items:
        if item.get_closest_marker("trainers") is not None:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def rollouts() -> list[dict[str, Any]]:
    """32 prompts with 8 samples each, prompt by prompt."""
    return step(32, SAMPLES)


@pytest.fixture(scope="session")
def expected(rollouts: list[dict[str, Any]]) -> list[float]:
    """The rewards that `/v1/score` gives them."""
    with judged_service(by_content()) as judged:
        rewards = judged.rewards(rollouts)
        assert judged.judge.calls == CALLS * len(rollouts)
    assert len(set(rewards)) > 20
    return rewards


@pytest.fixture(scope="session")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`trainer("trl", url, rollouts, …)`: what `drivers/drive_trl.py` made of it."""
    if not PYTHON.is_file():
        pytest.skip("needs an environment with the trainers: make test-trainers")

    def run(driver: str, url: str, rollouts: Any, **job: Any) -> Any:
        home = str(tmp_path_factory.mktemp(driver))
        done = subprocess.run(
            [str(PYTHON), str(Path(__file__).parent / "drivers" / f"drive_{driver}.py")],
            input=json.dumps({"rollouts": rollouts, "samples": SAMPLES, "url": url, **job}),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=home,
            env={"HOME": home, **ENVIRONMENT, "CITEMARK_URL": url},
        )
        assert done.returncode == 0, f"{driver} failed:\n{done.stderr[-4000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
