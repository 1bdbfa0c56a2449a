"""`citemark doctor`: does the judge's server do what the service relies on?"""

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from citemark_service.cli.options import chosen_settings, judge_options
from citemark_service.cli.printable import plain
from citemark_service.errors import JudgeError
from citemark_service.judges.factory import build_judge
from citemark_service.judges.language import LanguageJudge
from citemark_service.judges.prefix_metrics import PrefixMetrics
from citemark_service.observe import SilentObserver
from citemark_service.probe import SHARED_LINES, Cached, ProbeReport, probe
from citemark_service.settings import Settings

_POOR_SHARE = 0.5
_FEW_LINES = 24  # a model in this process reads slowly, and is no hybrid with large blocks


class _State(Enum):
    """How a finding is; the value is its colour."""

    OK = "green"
    LOOK = "yellow"
    FAILED = "red"


@dataclass(frozen=True, slots=True)
class _Finding:
    what: str
    state: _State
    seen: str


@click.command("doctor")
@judge_options
@click.pass_context
def command(ctx: click.Context, /, **flags: Any) -> None:
    """Ask the judge three times and report its grammar, its logprobs and its prefix cache.

    --judge-url alone means --judge vllm. Exit status 1 where the judge cannot be reached or does
    not keep to the grammar, 0 where it is only slower or coarser than it could be.
    """
    findings = asyncio.run(_all_findings(chosen_settings(_with_server(flags))))
    Console().print(_table(findings))
    ctx.exit(1 if any(finding.state is _State.FAILED for finding in findings) else 0)


def _with_server(flags: dict[str, Any]) -> dict[str, Any]:
    """A server that is named is the one to examine, though the default judge needs none."""
    named = flags["judge_url"] is not None
    return {**flags, "judge": "vllm"} if named and flags["judge"] is None else flags


def _table(findings: list[_Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        state = plain(finding.state.name.lower(), finding.state.value)
        table.add_row(plain(finding.what), state, plain(finding.seen))
    return table


async def _all_findings(settings: Settings) -> list[_Finding]:
    """Of each server by itself: the pool in front of several would send calls elsewhere."""
    urls = settings.judge_urls or (settings.judge_url,)
    each = [settings.model_copy(update={"judge_url": url, "judge_urls": ()}) for url in urls]
    return [finding for alone in each for finding in await _findings(alone)]


async def _findings(settings: Settings) -> list[_Finding]:
    async with aclosing(build_judge(settings, SilentObserver())) as judge:
        model = judge.identity.model
        if not isinstance(judge, LanguageJudge):
            return [_Finding("judge", _State.OK, f"{model}: no server, nothing to examine")]
        try:
            await judge.check()
            report = await _probed(judge, settings)
        except JudgeError as error:
            return [_Finding("judge", _State.FAILED, f"{error.kind}: {error}")]
    times = ", ".join(f"{seconds:.2f}" for seconds in report.seconds)
    reached = _Finding("judge", _State.OK, f"{model} {_where(settings)} answered in {times} s")
    return [reached, _grammar(report), _logprobs(report), _cache(report)]


def _where(settings: Settings) -> str:
    return "in this process" if settings.judge == "smollm2" else f"at {settings.judge_url}"


async def _probed(judge: LanguageJudge, settings: Settings) -> ProbeReport:
    remote = settings.judge != "smollm2"
    return await probe(
        judge.chat,
        nonce=secrets.token_hex(4),
        counters=PrefixMetrics(settings.judge_url) if remote else None,
        deadline=time.monotonic() + settings.judge_deadline_s,
        lines=SHARED_LINES if remote else _FEW_LINES,
    )


def _grammar(report: ProbeReport) -> _Finding:
    if report.grammar is None:
        return _Finding("grammar", _State.OK, "asked for prose, it replied with verdicts only")
    advice = "serve vLLM without a reasoning parser; elsewhere CITEMARK_JUDGE_CONSTRAINT may help"
    return _Finding("grammar", _State.FAILED, f"{report.grammar}; {advice}")


def _logprobs(report: ProbeReport) -> _Finding:
    if report.logprobs:
        return _Finding("logprobs", _State.OK, "verdicts are weighted by probability")
    return _Finding("logprobs", _State.LOOK, "none: scores are bare verdicts, and tie more often")


def _cache(report: ProbeReport) -> _Finding:
    share = report.cached_share
    if share is None:
        told = "the server does not tell; vLLM does with --enable-prompt-tokens-details"
        return _Finding("prefix cache", _State.LOOK, told)
    seen = (
        f"{report.third.tokens} of about {report.shared_tokens} shared tokens ({share:.0%}) "
        f"at the third call, {_told(report.second)} at the second, by its {report.third.source}"
    )
    if share >= _POOR_SHARE:
        return _Finding("prefix cache", _State.OK, seen)
    return _Finding("prefix cache", _State.LOOK, f"{seen}; is --enable-prefix-caching on?")


def _told(cached: Cached) -> str:
    return "none" if not cached.tokens else str(cached.tokens)
