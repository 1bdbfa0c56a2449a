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


class CannotInstall(Exception):
    """pip did not install what is needed; the message is the reason."""


def _stamp(environment: Path, requirements: Path) -> tuple[Path, str]:
    """A file, and what is in it when the environment was made from these requirements."""
    path = environment / f".installed-{requirements.parent.name}"
    return path, hashlib.sha256(requirements.read_bytes()).hexdigest()


def installed(environment: Path, requirements: Path) -> bool:
    """Whether the environment was made from the requirements as they are now."""
    path, content = _stamp(environment, requirements)
    return path.is_file() and path.read_text() == content


def install(environment: Path, requirements: Path, *flags: str) -> None:
    """Make the environment anew, with further `flags` for pip. Raises `CannotInstall`."""
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
    command = [
        *(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *flags),
        *("--no-deps", "--only-binary", ":all:", "-r", str(requirements)),
        *("--disable-pip-version-check", "--no-input"),
    ]
    try:
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, check=False, timeout=_INSTALL_S
        )
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"pip took longer than {_INSTALL_S} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip failed and said nothing"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        if any("+cpu" in line for line in errors):
            errors.append("torch's CPU build is on PyTorch's own index (PIP_EXTRA_INDEX_URL)")
        raise CannotInstall("\n".join(errors))
    path, content = _stamp(environment, requirements)
    path.write_text(content)
