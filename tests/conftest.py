"""Fixtures for every area."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from citemark_service.settings import Settings
from support.command_line import WriteRows
from support.running_service import Running, Start, begin
from support.scripted_judge import Script, ScriptedJudge
from support.scripted_service import Service, free_url, listening, real_app, scripted_service

# A busy machine is no failure: what an example costs is measured by the benchmarks.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

# No setting of the developer's reaches a test.
for setting in [name for name in os.environ if name.startswith("CITEMARK_")]:
    del os.environ[setting]

StartJudge = Callable[[Script], Awaitable[ScriptedJudge]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests measured, so that a trend is seen before a limit is met."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for _, value in report.user_properties:
            terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {value}")


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
def start() -> Iterator[Start]:
    """See `Start`; what was started is stopped with the test."""
    with ExitStack() as stack:

        def enter(**settings: Any) -> Running:
            return stack.enter_context(begin(**settings))

        yield enter


@pytest.fixture
def closed_url() -> str:
    """The address of a port on which nothing listens."""
    return free_url()


@pytest.fixture(scope="session")
def citemark_url() -> Iterator[str]:
    """The real service with the embedded judge, on a real socket; it keeps nothing of a call."""
    with listening(real_app(Settings())) as url:
        yield url


@pytest.fixture
def rows(tmp_path: Path) -> WriteRows:
    """`rows([{…}])` writes JSON lines and returns the file."""

    def write(values: Iterable[Mapping[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return path

    return write
