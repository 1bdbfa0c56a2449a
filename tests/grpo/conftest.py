"""What talks to a reward service gets a scripted one on a real socket."""

from collections.abc import Iterator

import pytest

from scripted_service import Service, embedded_service, free_url, scripted_service


@pytest.fixture
def service() -> Iterator[Service]:
    """A running scripted service."""
    with scripted_service() as running:
        yield running


@pytest.fixture
def closed_url() -> str:
    """The address of a port on which nothing listens."""
    return free_url()


@pytest.fixture
def citemark_url() -> Iterator[str]:
    """The real service with the embedded judge."""
    with embedded_service() as url:
        yield url
