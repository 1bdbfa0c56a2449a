"""Human-labelled cases, read where they lie; every test here skips where they are absent."""

import json
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"


def rows(name: str) -> list[dict]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no labelled data: {name} is not in ../shared/data")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def labelled() -> list[dict]:
    """129 whole rollouts with a human label for each claim."""
    return rows("rollouts_labelled.jsonl")


@pytest.fixture(scope="session")
def attacked() -> list[dict]:
    """400 attacks on those rollouts."""
    return rows("rollouts_adversarial.jsonl")
