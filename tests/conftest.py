"""Fixtures for every area."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import hypothesis
import pytest

from citemark_service.settings import Settings
from support.scripted_judge import Script, ScriptedJudge
from support.scripted_service import Service, free_url, listening, real_app, scripted_service

# A busy machine is no failure: what an example costs is measured by the benchmarks.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

StartJudge = Callable[[Script], Awaitable[ScriptedJudge]]


@pytest.fixture
async def start_judge() -> AsyncIterator[StartJudge]:
    """`judge = await start_judge(script)`: a scripted judge that stops with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script) -> ScriptedJudge:
            return await stack.enter_async_context(ScriptedJudge(script))

        yield start


@pytest.fixture
def service() -> Iterator[Service]:
    """A running scripted service, for what talks to one."""
    with scripted_service() as running:
        yield running


@pytest.fixture
def closed_url() -> str:
    """The address of a port on which nothing listens."""
    return free_url()


@pytest.fixture(scope="session")
def citemark_url() -> Iterator[str]:
    """The real service with the embedded judge, on a real socket; it keeps nothing of a call."""
    with listening(real_app(Settings())) as url:
        yield url
