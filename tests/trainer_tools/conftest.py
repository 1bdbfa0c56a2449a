"""The command line in this process, and files of rows."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from citemark_service.cli import main
from support.command_line import Cli
from support.made_tasks import json_lines

WriteFile = Callable[..., Path]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's reaches a test, and no terminal width but 100."""
    for name in [name for name in os.environ if name.startswith("CITEMARK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def cli() -> Cli:
    """`cli("convert", path, …)` runs a command in this process."""

    def run(*arguments: str | Path, **options: Any) -> Result:
        return CliRunner().invoke(main, [str(each) for each in arguments], **options)

    return run


@pytest.fixture
def data(tmp_path: Path) -> WriteFile:
    """`data([{…}])` writes JSON lines and returns the file."""

    def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text(json_lines(rows))
        return path

    return write
