"""Real file systems of a few megabytes, for as long as a test lasts."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

from citemark_grpo.training.disk import free_bytes

Kind = Literal["tmpfs", "ext4"]


@contextmanager
def mounted(kind: Kind, place: Path, mib: int) -> Iterator[Path]:
    """Mount an empty file system at `place`; skips the test where that is not allowed."""
    place.mkdir()
    _run(*_mount(kind, place, mib), str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=60)


def fill(disk: Path, leave: int = 0) -> Path:
    """Leave that many bytes of it free; returns the file that takes the others."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while free_bytes(disk) > leave:
            file.write(bytes(512))
    return ballast


def _mount(kind: Kind, place: Path, mib: int) -> list[str]:
    if kind == "tmpfs":
        return ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs"]
    image = place.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(mib * 1024 * 1024)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    return ["mount", "-t", "ext4", "-o", "loop", str(image)]


def _run(*command: str) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{command[0]} is refused here: {done.stderr.strip()}")
