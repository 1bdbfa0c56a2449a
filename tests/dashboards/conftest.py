"""A Prometheus that has seen four scripted hours."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from support.prometheus_server import Prometheus, backfill, installed, serving
from support.provisioned import DOCKER, RECORDING, RULES, yaml
from support.scripted_hours import Hours


@dataclass(frozen=True)
class Past:
    """The Prometheus and the hours that it has seen."""

    prometheus: Prometheus
    hours: Hours

    def values(self, expression: str, *, minutes: float | None = None) -> list[float]:
        """What a dashboard over all the hours, or their first minutes, would draw."""
        start = self.hours.start
        end = self.hours.end + 1 if minutes is None else start + minutes * 60
        return self.prometheus.values(expression, start=start, end=end, step_s=60)


@pytest.fixture(scope="session")
def programs() -> None:
    if not installed():
        pytest.skip("needs Prometheus and promtool: apt-get install prometheus")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def past(programs: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    """Four scripted hours in a real Prometheus, which scrapes the service that lived them."""
    folder = tmp_path_factory.mktemp("prometheus")
    exposition, data = folder / "hours.om", folder / "data"
    hours = Hours(folder, RECORDING.read_text())
    async with hours.playing():
        exposition.write_text("\n".join([*hours.exposition, "# EOF", ""]))
        backfill(exposition, data)
        # The configuration that ships, with the addresses of here and without its patience.
        text = (DOCKER / "prometheus" / "prometheus.yml").read_text()
        text = re.sub(r"((?:scrape|evaluation)_(?:interval|timeout)): \w+", r"\1: 1s", text)
        text = text.replace("citemark:8000", hours.url.removeprefix("http://"))
        config = folder / "prometheus.yml"
        config.write_text(text.replace("rules/*.yml", str(RULES)))
        command = yaml(DOCKER / "compose.dashboards.yaml")["services"]["prometheus"]["command"]
        bounds = [flag for flag in command if "retention" in flag]
        with serving(config, data, bounds) as prometheus:
            yield Past(prometheus, hours)
