"""Fixtures for every area."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import hypothesis
import pytest

from scripted_judge import Script, ScriptedJudge

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
