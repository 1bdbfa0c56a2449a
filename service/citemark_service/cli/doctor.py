"""`citemark doctor`: does the judge's server do what the service relies on?"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from citemark_service.cli.options import chosen_settings, judge_options
from citemark_service.cli.printable import plain
from citemark_service.examination.findings import Finding, State
from citemark_service.examination.server import each_server, examine
from citemark_service.settings import Settings

_COLOURS: Final = {State.OK: "green", State.LOOK: "yellow", State.FAILED: "red"}


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
    ctx.exit(1 if any(finding.state is State.FAILED for finding in findings) else 0)


def _with_server(flags: dict[str, Any]) -> dict[str, Any]:
    """A server that is named is the one to examine, though the default judge needs none."""
    named = flags["judge_url"] is not None
    return {**flags, "judge": "vllm"} if named and flags["judge"] is None else flags


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        aspect = finding.aspect.replace("_", " ")
        state = plain(finding.state.value, _COLOURS[finding.state])
        table.add_row(plain(aspect), state, plain(finding.seen))
    return table


async def _all_findings(settings: Settings) -> list[Finding]:
    return [finding for alone in each_server(settings).values() for finding in await examine(alone)]
