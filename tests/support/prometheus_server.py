"""A Prometheus of its own on loopback, where the machine has one installed."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support.running_service import until
from support.scripted_service import free_url


def installed() -> bool:
    """Whether this machine has Prometheus and its tool."""
    return all(shutil.which(program) for program in ("prometheus", "promtool"))


def promtool(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tool in a folder."""
    command = ["promtool", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def backfill(exposition: Path, data: Path) -> None:
    """Write samples with timestamps, as OpenMetrics text, to a database that is not in use."""
    done = promtool(
        "tsdb", "create-blocks-from", "openmetrics", exposition, data, folder=data.parent
    )
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Prometheus:
    """A running server's HTTP API."""

    url: str

    def answer(self, path: str, **parameters: str) -> Any:
        """The `data` of a successful answer; an expression that does not parse fails here."""
        body = httpx.request(
            "POST" if parameters else "GET",
            f"{self.url}/api/v1/{path}",
            data=parameters or None,
            timeout=60,
            trust_env=False,
        )
        told = body.json()
        assert told["status"] == "success", told
        return told["data"]

    def values(self, expression: str, *, start: float, end: float, step_s: float) -> list[float]:
        """Every number that the expression has between two times, all its series together."""
        data = self.answer(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step_s)
        )
        found = [float(value) for series in data["result"] for _, value in series["values"]]
        return [value for value in found if value == value]  # noqa: PLR0124  a NaN is no data


@contextmanager
def serving(config: Path, data: Path, flags: Sequence[str] = ()) -> Iterator[Prometheus]:
    """A server with that configuration and database, which ends with the block."""
    server = Prometheus(free_url())
    command = [
        *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"),
        *(f"--web.listen-address={server.url.removeprefix('http://')}", "--log.level=warn", *flags),
    ]
    with (data.parent / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, "Prometheus ended; see its log"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{server.url}/-/ready", timeout=60, trust_env=False).is_success
        return False

    try:
        until(is_ready, every_s=0.1)
        yield server
    finally:
        process.terminate()
        process.wait(60)
