"""Makes what the tests of this folder need: an environment with vLLM, and models it can read.

    PYTHONPATH=tests python tests/vllm/prepare.py ENVIRONMENT MODEL HYBRID

MODEL is made of the small real model, HYBRID is a tiny untrained one with recurrent layers. Runs
in the main environment, which holds the model file. Exit status 3 where vLLM cannot be installed,
with the reason printed.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from citemark_service.judges.smollm2 import model_file
from support.environments import prepare

_HERE = Path(__file__).parent


def make(environment: Path, model: Path, layout: str, source: Path) -> None:
    """Have `make_model.py` make `model` unless it is there; a broken attempt leaves nothing."""
    if model.is_dir():
        return
    part = model.with_name(f"{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    command = [environment / "bin" / "python", _HERE / "make_model.py", layout, source, part]
    quiet = {**os.environ, "TQDM_DISABLE": "1"}
    subprocess.run(list(map(str, command)), check=True, timeout=300, env=quiet)
    part.rename(model)


if __name__ == "__main__":
    environment, model, hybrid = map(Path, sys.argv[1:])
    prepare(environment, _HERE / "requirements.txt")
    make(environment, model, "smollm2", model_file())
    make(environment, hybrid, "hybrid", model)
