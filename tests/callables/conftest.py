"""No source stays open after a test, and the environment names a service."""

from collections.abc import Iterator

import pytest

from citemark_grpo.source import close_sources


@pytest.fixture(autouse=True)
def closed_sources() -> Iterator[None]:
    yield
    close_sources()


@pytest.fixture
def use(monkeypatch):
    """`use(url)`: the environment names that service."""
    return lambda url: monkeypatch.setenv("CITEMARK_URL", url)
