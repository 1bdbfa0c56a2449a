"""Probes of the servers that the settings name, on request and at start-up."""

import asyncio
import logging
import secrets
import time
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from itertools import count
from typing import Final

from citemark_service.errors import JudgeError
from citemark_service.examination.counters import read_prefix_count
from citemark_service.examination.findings import (
    ServerFinding,
    State,
    explain_failure,
    explain_report,
)
from citemark_service.examination.probe import SHARED_LINES, probe
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.server.pool import TRANSPORT_ERRORS, RetryPolicy
from citemark_service.judges.server.server import name_servers
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics

_FEW_LINES: Final = 24  # a model in this process is slow, and has no large cache blocks
_LOOKS: Final = RetryPolicy(attempts=10_000)  # the deadline ends them
_LEVELS: Final = {State.OK: logging.INFO, State.LOOK: logging.WARNING, State.FAILED: logging.ERROR}
_log = logging.getLogger("citemark.probe")


def split_servers(settings: Settings) -> dict[str, Settings]:
    """The settings for each server alone, by its name in metrics.

    A pool of several would send calls to another. Raises `SettingsError` for a repeated server.
    """
    urls = settings.server_urls
    return {
        name: settings.model_copy(update={"judge_url": url, "judge_urls": ()})
        for name, url in zip(name_servers(urls), urls, strict=True)
    }


async def examine(settings: Settings, *, patience_s: float = 0.0) -> tuple[ServerFinding, ...]:
    """Probe the one server of `settings` over separate connections. Raises as `build_judge`.

    A server that cannot be reached is waited for, `patience_s` at most; later failures are
    findings.
    """
    remote = JUDGES[settings.judge].served
    async with aclosing(build_judge(settings, Metrics())) as judge:
        model = judge.identity.model
        if not isinstance(judge, LanguageJudge):
            return (ServerFinding("judge", True, f"{model}: no server, nothing to examine"),)
        try:
            await _reach(judge, patience_s)
            report = await probe(
                judge.pool,
                nonce=secrets.token_hex(4),
                read_count=partial(read_prefix_count, settings.judge_url) if remote else None,
                deadline=time.monotonic() + settings.judge_deadline_s,
                lines=SHARED_LINES if remote else _FEW_LINES,
            )
        except JudgeError as error:
            return (explain_failure(error),)
    where = f"at {settings.judge_url}" if remote else "in this process"
    return explain_report(report, f"{model} {where}")


async def _reach(judge: LanguageJudge, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    for attempt in count(1):
        try:
            await judge.check()
        except TRANSPORT_ERRORS as error:
            await asyncio.sleep(_LOOKS.plan_retry(error, attempt, deadline))
        else:
            return


def start_probe(settings: Settings, metrics: Metrics) -> "StartProbe | None":
    """The probe at start-up; None where it is off or the judge has no server."""
    wanted = settings.probe_at_start and JUDGES[settings.judge].served
    return StartProbe(settings, metrics) if wanted else None


class StartProbe(AbstractAsyncContextManager[None]):
    """Examines each server in the background while entered; leaving cancels unfinished probes.

    It logs one line for each finding and sets `metrics.probes`; failures are findings. A server
    that is still loading its model is waited for, `patience_s` at most. The constructor raises
    as `split_servers`.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *, patience_s: float = 900.0) -> None:
        self._servers = split_servers(settings)
        self._metrics = metrics
        self._patience_s = patience_s
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        for name, alone in self._servers.items():
            task = asyncio.create_task(self._examine_server(name, alone))
            task.add_done_callback(_log_defect)
            self._tasks.append(task)

    async def __aexit__(self, *_exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _examine_server(self, name: str, alone: Settings) -> None:
        for finding in await examine(alone, patience_s=self._patience_s):
            # One line of printable characters: a server's text must not forge lines of the log.
            seen = "".join(filter(str.isprintable, " ".join(finding.seen.split())))
            level, state = _LEVELS[finding.state], finding.state.value
            _log.log(level, "%s: %s %s: %s", name, finding.aspect, state, seen)
            if finding.aspect != "judge" and finding.works is not None:
                self._metrics.probes.labels(name, finding.aspect).set(finding.works)


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the probe at start-up broke", exc_info=error)
