"""The files of this checkout."""

import subprocess
from pathlib import Path

import pytest


def list_files(root: Path) -> tuple[Path, ...]:
    """Every file that git has or would add, relative to `root`; skips where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip(f"needs a git checkout: {listed.stderr.strip()}")
    names = sorted(set(filter(None, listed.stdout.split("\0"))))
    return tuple(Path(name) for name in names if (root / name).is_file())
