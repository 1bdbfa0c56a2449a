"""Makes what the tests of this folder need: an environment with vLLM, and models it can read.

    PYTHONPATH=tests python tests/vllm/prepare.py ENVIRONMENT MODEL HYBRID

MODEL is made of the small real model, HYBRID is a tiny untrained one with recurrent layers. Runs
in the main environment, which holds the model file. Exit status 0 when all is there, 3 where vLLM
cannot be installed, with the reason printed; anything else is a failure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from citemark_service.judges.smollm2 import model_file
from support.environments import CANNOT_INSTALL, CannotInstall, install, installed

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"


def make(environment: Path, model: Path, script: str, source: Path) -> None:
    """Have `script` make `model` from `source`; nothing is left of a broken attempt."""
    part = model.with_name(f"{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    command = [environment / "bin" / "python", _HERE / script, source, part]
    quiet = {**os.environ, "TQDM_DISABLE": "1"}
    subprocess.run(list(map(str, command)), check=True, timeout=300, env=quiet)
    part.rename(model)


def main(environment: Path, model: Path, hybrid: Path) -> int:
    """Do what is not done yet; the exit status."""
    try:
        if not installed(environment, _REQUIREMENTS):
            click.echo(f"installing vLLM for the CPU into {environment} (about 2 GB)")
            install(environment, _REQUIREMENTS)
    except CannotInstall as error:
        click.echo(f"skipped: vLLM cannot be installed here:\n{error}")
        return CANNOT_INSTALL
    if not model.is_dir():
        make(environment, model, "convert_model.py", model_file())
    if not hybrid.is_dir():
        make(environment, hybrid, "tiny_hybrid.py", model)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
