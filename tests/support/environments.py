"""Environments of their own for tests whose packages cannot stand beside the project's."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import click

_INSTALL_S = 1500


def prepare(environment: Path, requirements: Path, *flags: str) -> None:
    """Install the requirements as they stand, nothing besides, unless they are installed already.

    `flags` are further ones for pip. Where it cannot install them, prints why and ends the program
    with status 3.
    """
    name = requirements.parent.name
    stamp = environment / f".installed-{name}"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    click.echo(f"installing {name} for the CPU into {environment} (about 2 GB)")
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
    command = [
        *(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *flags),
        *("--no-deps", "--only-binary", ":all:", "-r", str(requirements)),
        *("--disable-pip-version-check", "--no-input"),
    ]
    try:
        subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        errors = [f"pip took longer than {_INSTALL_S} s"]
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["pip failed and said nothing"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        if any("+cpu" in line for line in errors):
            errors.append("torch's CPU build is on PyTorch's own index (PIP_EXTRA_INDEX_URL)")
    else:
        stamp.write_text(wanted)
        return
    click.echo("\n".join([f"skipped: {name} cannot be installed here:", *errors]))
    sys.exit(3)
