"""Makes what the tests of this folder need: an environment with vLLM, and models it can read.

    python tests/vllm/prepare.py ENVIRONMENT MODEL HYBRID

MODEL is made of the small real model, HYBRID is a tiny untrained one with recurrent layers. Runs
in the main environment, which holds the model file. Exit status 0 when all is there, 3 where vLLM
cannot be installed, with the reason printed; anything else is a failure.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from citemark_service.judges.smollm2 import model_file

CANNOT_INSTALL = 3
_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"
_INSTALL_S = 1500
_MAKE_S = 300


class CannotInstall(Exception):
    """pip did not install vLLM; the message is the reason."""


def installed(environment: Path) -> bool:
    """Whether the environment was made from the requirements as they are now."""
    stamp = _stamp(environment)
    return stamp.is_file() and stamp.read_text() == _wanted()


def _stamp(environment: Path) -> Path:
    return environment / ".installed-vllm"


def _wanted() -> str:
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()


def install(environment: Path) -> None:
    """Make the environment anew. Raises `CannotInstall`."""
    click.echo(f"installing vLLM for the CPU into {environment} (about 2 GB)")
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=_MAKE_S)
    python = str(environment / "bin" / "python")
    _pip([python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(_REQUIREMENTS)])
    _stamp(environment).write_text(_wanted())


def _pip(command: list[str]) -> None:
    flags = ["--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, *flags], stderr=subprocess.PIPE, text=True, check=False, timeout=_INSTALL_S
        )
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"pip took longer than {_INSTALL_S} s") from error
    if done.returncode != 0:
        raise CannotInstall(_reason(done.stderr))


def _reason(complaint: str) -> str:
    lines = complaint.strip().splitlines() or ["pip failed and said nothing"]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
    hint = "torch's CPU build is on PyTorch's own package index (PIP_EXTRA_INDEX_URL)"
    return "\n".join([*errors, hint] if any("+cpu" in line for line in errors) else errors)


def make(environment: Path, model: Path, script: str, source: Path) -> None:
    """Have `script` make `model` from `source`; nothing is left of a broken attempt."""
    part = model.with_name(f"{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    python = str(environment / "bin" / "python")
    quiet = {**os.environ, "TQDM_DISABLE": "1"}
    command = [python, str(_HERE / script), str(source), str(part)]
    subprocess.run(command, check=True, timeout=_MAKE_S, env=quiet)
    part.rename(model)


def main(environment: Path, model: Path, hybrid: Path) -> int:
    """Do what is not done yet; the exit status."""
    try:
        if not installed(environment):
            install(environment)
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
