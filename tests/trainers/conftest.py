"""A step of a training run, what `/v1/score` says of it, and the trainers to send it with."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from citemark_service.cli import main
from support.judged_service import judged_service
from support.step_checks import SAMPLES
from support.step_rollouts import CALLS, by_content
from support.step_rollouts import step as step_rollouts
from trainers.ways import Way

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
            item.add_marker(pytest.mark.timeout(1000))


@pytest.fixture(scope="session")
def rollouts() -> list[dict[str, Any]]:
    """32 prompts with 8 samples each, prompt by prompt."""
    return step_rollouts(32, SAMPLES)


@pytest.fixture(scope="session")
def expected(rollouts: list[dict[str, Any]]) -> list[float]:
    """The rewards that `/v1/score` gives them."""
    with judged_service(by_content()) as judged:
        rewards = judged.rewards(rollouts)
        assert judged.judge.calls == CALLS * len(rollouts)
    assert len(set(rewards)) > 20
    return rewards


@pytest.fixture
def step(way: Way, rollouts: list[dict[str, Any]], tmp_path: Path) -> Callable[..., Any]:
    """`step(url)`: what the trainer's driver makes of the step with the service at `url`.

    `tries` is how often it posts, where that is its caller's to say.
    """
    if not PYTHON.is_file():
        pytest.skip("needs an environment with the trainers: make test-trainers")
    driver = Path(__file__).parent / "drivers" / f"drive_{way.driver}.py"
    job: dict[str, Any] = {"rollouts": rollouts[: way.few], "samples": SAMPLES, "way": way.way}
    if way.way == "scaffold":
        written = CliRunner().invoke(main, ["scaffold", "nemo-gym", str(tmp_path)])
        assert written.exit_code == 0, written.output
        job["scaffold"] = str(Path(tmp_path, "resources_servers", "citemark", "app.py"))

    def run(url: str, tries: int = 1) -> Any:
        done = subprocess.run(
            [str(PYTHON), str(driver)],
            input=json.dumps({**job, "url": url, "tries": tries}),
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), **ENVIRONMENT, "CITEMARK_URL": url},
        )
        assert done.returncode == 0, f"{way} failed:\n{done.stderr[-4000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
