"""Human-labelled cases, read where they lie; every test here skips where they are absent."""

import pytest

from support.labelled_data import labelled_rows


@pytest.fixture(scope="session")
def labelled() -> list[dict]:
    """129 whole rollouts with a human label for each claim."""
    return labelled_rows("rollouts_labelled.jsonl")


@pytest.fixture(scope="session")
def attacked() -> list[dict]:
    """400 attacks on those rollouts."""
    return labelled_rows("rollouts_adversarial.jsonl")
