"""A Prometheus that has seen four scripted hours."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from support.provisioned import DOCKER, RECORDING, RULES, promtool, yaml
from support.running_service import until
from support.scripted_hours import Hours
from support.scripted_service import free_url


@dataclass(frozen=True)
class Past:
    url: str
    hours: Hours

    def answer(self, path: str, **parameters: str) -> Any:
        """The `data` of a successful answer; an expression that does not parse fails here."""
        method, url = "POST" if parameters else "GET", f"{self.url}/api/v1/{path}"
        body = httpx.request(method, url, data=parameters or None, timeout=60, trust_env=False)
        told = body.json()
        assert told["status"] == "success", told
        return told["data"]

    def values(self, expression: str, *, minutes: float | None = None) -> list[float]:
        """What a dashboard over all the hours, or their first minutes, would draw."""
        start = self.hours.start
        end = self.hours.end + 1 if minutes is None else start + minutes * 60
        span = {"start": str(start), "end": str(end), "step": "60"}
        series = self.answer("query_range", query=expression, **span)["result"]
        found = [float(value) for each in series for _, value in each["values"]]
        return [value for value in found if value == value]  # noqa: PLR0124  a NaN is no data


@pytest.fixture(scope="session")
def programs() -> None:
    if not all(shutil.which(program) for program in ("prometheus", "promtool")):
        pytest.skip("needs Prometheus and promtool: apt-get install prometheus")


@contextmanager
def serving(config: Path, data: Path, *flags: str) -> Iterator[str]:
    url = free_url()
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"),
        *(f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn", *flags),
    ]
    with (data.parent / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, "Prometheus ended; see its log"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/-/ready", timeout=60, trust_env=False).is_success
        return False

    try:
        until(is_ready, every_s=0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def past(programs: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    """Four scripted hours in a real Prometheus, which scrapes the service that lived them."""
    folder = tmp_path_factory.mktemp("prometheus")
    exposition, data = folder / "hours.om", folder / "data"
    hours = Hours(folder, RECORDING.read_text())
    async with hours.playing():
        exposition.write_text("\n".join([*hours.exposition, "# EOF", ""]))
        create = ("tsdb", "create-blocks-from", "openmetrics", exposition, data)
        done = promtool(*create, folder=folder)
        assert done.returncode == 0, done.stderr
        # The configuration that ships, with the addresses of here and without its patience.
        text = (DOCKER / "prometheus" / "prometheus.yml").read_text()
        text = re.sub(r"((?:scrape|evaluation)_(?:interval|timeout)): \w+", r"\1: 1s", text)
        text = text.replace("citemark:8000", hours.url.removeprefix("http://"))
        config = folder / "prometheus.yml"
        config.write_text(text.replace("rules/*.yml", str(RULES)))
        command = yaml(DOCKER / "compose.dashboards.yaml")["services"]["prometheus"]["command"]
        with serving(config, data, *(flag for flag in command if "retention" in flag)) as url:
            yield Past(url, hours)
