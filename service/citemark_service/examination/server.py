"""From a server's settings to findings: reach it, probe it, read the report."""

import secrets
import time
from contextlib import aclosing
from typing import Final

from citemark_service.errors import JudgeError
from citemark_service.examination.findings import Finding, reported, unanswered
from citemark_service.examination.prefix_metrics import PrefixMetrics
from citemark_service.examination.probe import SHARED_LINES, ProbeReport, probe
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language.judge import LanguageJudge
from citemark_service.judges.server.pool import RetryPolicy
from citemark_service.judges.server.server import name_servers
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.metrics import Metrics

_FEW_LINES: Final = 24  # a model in this process reads slowly, and is no hybrid with large blocks
_LOOKS: Final = RetryPolicy(attempts=10_000)  # the deadline ends them


def each_server(settings: Settings) -> dict[str, Settings]:
    """The settings with each server alone, under the name that it has in metrics.

    By itself, because the pool in front of several would send calls elsewhere.

    Raises:
        SettingsError: a server is there twice.
    """
    return {
        name: settings.model_copy(update={"judge_url": url, "judge_urls": ()})
        for name, url in name_servers(settings.server_urls).items()
    }


async def examine(settings: Settings, *, patience_s: float = 0.0) -> tuple[Finding, ...]:
    """Reach the one server of `settings` and ask it three times, over connections of its own.

    Args:
        patience_s: how long to wait for a server that cannot be reached. One that answers is
            asked at once, and whatever goes wrong then is a finding.

    Raises:
        SettingsError: as `build_judge`.
    """
    async with aclosing(build_judge(settings, Metrics())) as judge:
        model = judge.identity.model
        if not isinstance(judge, LanguageJudge):
            return (Finding("judge", True, f"{model}: no server, nothing to examine"),)
        try:
            await _reached(judge, patience_s)
            report = await _probed(judge, settings)
        except JudgeError as error:
            return (unanswered(error),)
    return reported(report, f"{model} {_where(settings)}")


async def _reached(judge: LanguageJudge, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    async for attempt in _LOOKS.retrying(deadline, on_retry=lambda _: None):
        with attempt:
            await judge.check()


async def _probed(judge: LanguageJudge, settings: Settings) -> ProbeReport:
    remote = JUDGES[settings.judge].served
    return await probe(
        judge.pool,
        nonce=secrets.token_hex(4),
        counters=PrefixMetrics(settings.judge_url) if remote else None,
        deadline=time.monotonic() + settings.judge_deadline_s,
        lines=SHARED_LINES if remote else _FEW_LINES,
    )


def _where(settings: Settings) -> str:
    served = JUDGES[settings.judge].served
    return f"at {settings.judge_url}" if served else "in this process"
