"""The probe of a starting service: beside its work, once for each server of the judge."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from citemark_service.examination.findings import Finding, State
from citemark_service.examination.server import each_server, examine
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics

PATIENCE_S: Final = 900.0
"""How long a judge may load its model."""

_LEVELS: Final = {
    State.OK: logging.INFO,
    State.LOOK: logging.WARNING,
    State.FAILED: logging.ERROR,
}
_log = logging.getLogger("citemark.probe")


def start_probe(settings: Settings, metrics: Metrics) -> "StartProbe | None":
    """The probe that the settings ask for; None where it is off or the judge has no server."""
    wanted = settings.probe_at_start and JUDGES[settings.judge].served
    return StartProbe(settings, metrics) if wanted else None


class StartProbe(AbstractAsyncContextManager[None]):
    """Examines each server while it is entered; leaving cancels what still waits or asks.

    It logs one line for each finding, tells `metrics` what works, and raises nothing. A server
    that cannot be reached is waited for, `patience_s` at most.

    Raises:
        SettingsError: as `each_server`.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._servers = each_server(settings)
        self._metrics = metrics
        self._patience_s = patience_s
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        """Begin, and return before anything is asked."""
        for name, alone in self._servers.items():
            task = asyncio.create_task(self._examined(name, alone))
            task.add_done_callback(_tell_defect)
            self._tasks.append(task)

    async def __aexit__(self, *_exc: object) -> None:
        """End, with all connections closed."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _examined(self, name: str, alone: Settings) -> None:
        for finding in await examine(alone, patience_s=self._patience_s):
            self._tell(name, finding)

    def _tell(self, name: str, finding: Finding) -> None:
        state = finding.state
        seen = _one_line(finding.seen)
        _log.log(_LEVELS[state], "%s: %s %s: %s", name, finding.aspect, state.value, seen)
        if finding.aspect != "judge" and finding.works is not None:
            self._metrics.probes.labels(name, finding.aspect).set(finding.works)


def _one_line(text: str) -> str:
    """Without what a server's words could forge a line of the log with."""
    return "".join(filter(str.isprintable, " ".join(text.split())))


def _tell_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the probe at start-up broke", exc_info=error)
