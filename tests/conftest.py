"""Fixtures for every area."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from scripted_judge import Script, ScriptedJudge

StartJudge = Callable[[Script], Awaitable[ScriptedJudge]]


@pytest.fixture
async def start_judge() -> AsyncIterator[StartJudge]:
    """`judge = await start_judge(script)`: a scripted judge that stops with the test."""
    async with AsyncExitStack() as stack:

        async def start(script: Script) -> ScriptedJudge:
            return await stack.enter_async_context(ScriptedJudge(script))

        yield start
