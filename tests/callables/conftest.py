"""A clean environment, no source left open, and services to talk to."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from citemark_grpo.source import close_sources
from support.running_service import Running, Start, begin


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the developer's reaches a test, and nothing stays open after it."""
    for name in [name for name in os.environ if name.startswith("CITEMARK_")]:
        monkeypatch.delenv(name)
    yield
    close_sources()


@pytest.fixture
def use(monkeypatch):
    """`use(url)`: the environment names that service."""
    return lambda url: monkeypatch.setenv("CITEMARK_URL", url)


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(api_token="x")`: the real service with a judge that does what questions say."""
    with ExitStack() as stack:

        def started(**settings: Any) -> Running:
            running = begin(**settings)
            stack.callback(running.stop)
            return running

        yield started
