"""`citemark doctor`: does the judge do what is relied on, and is a data set fit to train on?"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from citemark_service.cli.dataset import examine_dataset
from citemark_service.cli.options import (
    chosen_settings,
    given_flags,
    judge_options,
    service_url,
    setting_option,
)
from citemark_service.cli.printable import plain
from citemark_service.examination.findings import Finding, State
from citemark_service.examination.server import each_server, examine
from citemark_service.settings import Settings
from citemark_service.trainers.table import TRAINERS

_COLOURS: Final = {State.OK: "green", State.LOOK: "yellow", State.FAILED: "red"}


@click.command("doctor")
@click.option("--trainer", type=click.Choice(tuple(TRAINERS)), help="Examine its data set.")
@click.option(
    "--dataset",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The data set, in that trainer's layout: JSON lines or Parquet.",
)
@click.option("--url", callback=service_url, help="Try one row with the service there.")
@setting_option("api_token", "That service's token, if it has one.", metavar="TOKEN")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Rows to look at.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print the data set's findings as JSON.")
@judge_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    trainer: str | None,
    dataset: Path | None,
    url: str | None,
    api_token: str | None,
    limit: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Examine the judge, or with --trainer and --dataset a data set.

    The judge is asked three times, and its grammar, its logprobs and its prefix cache reported.
    --judge-url alone means --judge vllm. Exit status 1 where the judge cannot be reached or does
    not keep to the grammar, 0 where it is only slower or coarser than it could be.

    Of a data set every row is read as that trainer's reward would get it. With --url one row is
    posted in the trainer's own dialect, with a made-up honest answer and an empty one. Exit
    status 1 where there are errors, 0 where there are warnings at most, 2 for wrong usage.
    """
    if trainer is None:
        _refuse_idle(dataset=dataset, url=url, api_token=api_token, limit=limit, json=as_json)
        ctx.exit(_judged(flags))
    if dataset is None:
        raise click.UsageError(f"--trainer {trainer} needs a data set; name it with --dataset")
    if given := given_flags(flags):
        raise click.UsageError(f"--trainer examines a data set; drop {', '.join(given)}")
    settings = chosen_settings({"api_token": api_token})
    found = examine_dataset(TRAINERS[trainer], dataset, settings, url=url, limit=limit)
    found.show(as_json=as_json)
    ctx.exit(found.exit_code)


def _refuse_idle(**flags: object) -> None:
    idle = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value]
    if idle:
        raise click.UsageError(f"{', '.join(idle)} is for a data set; name its --trainer")


def _judged(flags: dict[str, Any]) -> int:
    findings = asyncio.run(_all_findings(chosen_settings(_with_server(flags))))
    Console().print(_table(findings))
    return 1 if any(finding.state is State.FAILED for finding in findings) else 0


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
