"""What the README says to type, in order, in a clone; what it shows is what comes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

import pytest

from support.checkout import list_files
from support.scripted_service import free_url

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGES = ("schemas", "rubrics", "service", "grpo")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the working tree's changes, in which make finds everything installed."""
    folder = tmp_path / "clone"
    for name in list_files(ROOT):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    here = {"base": str(venv), "platbase": str(venv)}
    own = Path(sysconfig.get_path("purelib", "venv", here))
    installed = [str(folder / name) for name in PACKAGES] + [sysconfig.get_path("purelib")]
    (own / "clone.pth").write_text("\n".join(installed))
    script = venv / "bin" / "citemark"
    script.write_text(f'#!/bin/sh\nexec {venv}/bin/python -m citemark_service "$@"\n')
    script.chmod(0o755)
    (venv / ".installed-service").touch()
    return folder


def test_the_readme_runs_in_order_in_one_shell_on_one_port(clone, tmp_path):
    blocks = re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL)
    url = free_url()
    typed = "set -e\n" + "".join(
        f".venv/bin/python - <<'PYTHON'\n{text}PYTHON\n" if kind == "python" else text
        for kind, text in blocks
        if not text.startswith("# needs a GPU")
    ).replace("http://127.0.0.1:8000", url)
    own = {name: value for name, value in os.environ.items() if not name.startswith("CITEMARK_")}
    with (tmp_path / "said").open("w+") as said, (tmp_path / "log").open("w+") as log:
        shell = subprocess.Popen(
            ["bash", "-c", typed],
            stdout=said,
            stderr=log,
            cwd=clone,
            env={**own, "CITEMARK_PORT": url.rpartition(":")[2], "NO_COLOR": "1", "COLUMNS": "100"},
            start_new_session=True,  # so that what it leaves running can be ended
        )
        try:
            assert shell.wait(timeout=240) == 0, (tmp_path / "log").read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    shown = [line.rstrip() for line in (tmp_path / "said").read_text().splitlines()]
    (explained,) = re.findall(r"```text\n(ferry .*?)\n```", README, re.DOTALL)
    assert explained in "\n".join(shown)
    assert '    "reward": 0.9334031048316762,' in shown
    assert sum(bool(re.fullmatch(r"[\w-]+ \d\.\d+", line)) for line in shown) == 16
