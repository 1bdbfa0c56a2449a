"""Data that people labelled, read where it lies; tests skip where it is absent."""

import json
from pathlib import Path
from typing import Any

import pytest

_DATA = Path(__file__).parents[3] / "shared" / "data"


def labelled_file(name: str) -> Path:
    """The path of one of its files."""
    if not (_DATA / name).is_file():
        pytest.skip(f"no labelled data: {name} is not in ../shared/data")
    return _DATA / name


def labelled_rows(name: str) -> list[dict[str, Any]]:
    """The rows of one of its files."""
    return [json.loads(line) for line in labelled_file(name).read_text("utf-8").splitlines()]
