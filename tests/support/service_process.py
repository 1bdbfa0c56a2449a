"""The service in a process of its own, which does not outlive the test."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.running_service import PATIENCE_S, until

SERVE = ("-m", "citemark_service", "serve")


class ServiceProcess:
    """It runs in `folder`, with these settings alone; `log` is what it has logged so far."""

    def __init__(self, folder: Path, *command: str, **settings: object) -> None:
        environ = {f"CITEMARK_{name.upper()}": str(value) for name, value in settings.items()}
        path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1])}
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *(command or SERVE)],
                stdin=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env={**path, "CITEMARK_PORT": "0", **environ},
            )
        until(lambda: self.popen.poll() is not None or "serving on" in self.log)
        (url,) = re.findall(r"serving on (http://\S+)", self.log)
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def service_process(folder: Path, *command: str, **settings: object) -> Iterator[ServiceProcess]:
    running = ServiceProcess(folder, *command, **settings)
    yield running
    running.client.close()
    running.popen.kill()
    running.popen.communicate()
