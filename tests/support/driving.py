"""Runs the drivers of `trainers/drivers` in the trainers' environment."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
PYTHON = _ROOT / ".venv-trainers" / "bin" / "python"
_DRIVERS = _ROOT / "tests" / "trainers" / "drivers"
_PACKAGES = [_ROOT / "schemas", _ROOT / "grpo"]
_PATIENCE_S = 300.0
_WORDS = 4000


def drive(driver: str, job: dict[str, Any], **environment: str) -> Any:
    """What `drive_<driver>.py` made of the job; fails with its last words."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [str(PYTHON), str(_DRIVERS / f"drive_{driver}.py")],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
            cwd=home,
            env={**_environment(home), **environment},
        )
    assert done.returncode == 0, f"{driver} failed:\n{done.stderr[-_WORDS:]}"
    return json.loads(done.stdout.splitlines()[-1])


def _environment(home: str) -> dict[str, str]:
    """Nothing of a user's own settings, and nothing fetched."""
    return {
        "HOME": home,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, _PACKAGES)),
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
