"""What the README says that commands print, they print; what it says exists, exists."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def printed(root: Path, *arguments: str) -> str:
    """What `citemark` prints on a terminal of 100 columns without colour."""
    done = subprocess.run(
        [sys.executable, "-m", "citemark_service", *arguments],
        capture_output=True,
        check=True,
        cwd=root,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        text=True,
        timeout=60,
    )
    return done.stdout


def block(readme: str, kind: str, start: str) -> str:
    found = re.search(rf"```{kind}\n({re.escape(start)}.*?)\n```", readme, re.DOTALL)
    assert found, f"no {kind} block begins with {start!r}"
    return found[1]


def test_explain_prints_what_the_readme_shows(root, readme):
    lines = printed(root, "explain", "examples/rollout.json").splitlines()
    assert [line.rstrip() for line in lines] == block(readme, "text", "ferry ").splitlines()


def test_the_result_begins_as_the_readme_shows(root, readme):
    result = json.loads(printed(root, "score", "examples/rollout.json"))
    shown = block(readme, "json", '{\n    "id"').splitlines()
    assert json.dumps(result, indent=4).splitlines()[: len(shown)] == shown


def test_what_the_tree_names_exists(root, readme):
    tree = block(readme, "text", "schemas/citemark_schemas/")
    folder = root
    for line in tree.splitlines():
        names = line[:31].split()
        base = folder if line.startswith("  ") else root
        for name in names:
            assert list(base.glob(name)), f"{name} of the README's tree is not there"
        if not line.startswith("  "):
            folder = root / names[0]
