"""Real file systems of a few megabytes, for as long as a test lasts."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest

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


def fill(disk: Path) -> Path:
    """Fill it to the last byte; returns the file that takes the space."""
    ballast = disk / "ballast"
    for size in (4096, 512, 1):
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(size)):
                pass
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
