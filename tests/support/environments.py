"""Environments of their own for tests whose packages cannot stand beside the project's.

A requirements file is installed as it stands, without what it does not name, and a stamp holds
what it was when it was installed.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

CANNOT_INSTALL = 3
"""The exit status of a `prepare.py` that has printed why."""
_INSTALL_S = 1500
_MAKE_S = 300


class CannotInstall(Exception):
    """pip did not install what is needed; the message is the reason."""


def installed(environment: Path, requirements: Path) -> bool:
    """Whether the environment was made from the requirements as they are now."""
    stamp = _stamp(environment, requirements)
    return stamp.is_file() and stamp.read_text() == _wanted(requirements)


def _stamp(environment: Path, requirements: Path) -> Path:
    return environment / f".installed-{requirements.parent.name}"


def _wanted(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def install(environment: Path, requirements: Path, *flags: str) -> None:
    """Make the environment anew, with further `flags` for pip. Raises `CannotInstall`."""
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=_MAKE_S)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *flags]
    _run([*pip, "--no-deps", "--only-binary", ":all:", "-r", str(requirements)])
    _stamp(environment, requirements).write_text(_wanted(requirements))


def _run(command: list[str]) -> None:
    flags = ["--disable-pip-version-check", "--no-input"]
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
