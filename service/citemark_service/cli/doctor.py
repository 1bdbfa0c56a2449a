"""`citemark doctor`: examines the judge, or a data set for a trainer."""

import asyncio
import itertools
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from citemark_rubrics import load_library
from citemark_service.cli.options import (
    INPUT,
    chosen_settings,
    given_flags,
    judge_options,
    service_url,
    setting_option,
)
from citemark_service.cli.terminal import Progress, count_noun, plain, show
from citemark_service.examination import ServerFinding, State, examine, split_servers
from citemark_service.row_files import Form, RowFile
from citemark_service.settings import Settings
from citemark_service.trainers.checks import DatasetCheck
from citemark_service.trainers.faults import Severity, error, warning
from citemark_service.trainers.files import PARQUET
from citemark_service.trainers.round_trip import Trip, make_round_trip
from citemark_service.trainers.table import TRAINERS
from citemark_service.trainers.trainer import Trainer

_STATES: Final = {State.OK: "green", State.LOOK: "yellow", State.FAILED: "red"}
_SEVERITIES: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}
_TABLE: Final[dict[str, Any]] = {"box": None, "padding": (0, 2, 0, 0)}
_HEADED: Final = {**_TABLE, "pad_edge": False, "header_style": "dim"}


@click.command("doctor")
@click.option("--trainer", type=click.Choice(tuple(TRAINERS)), help="Examine its data set.")
@click.option(
    "--dataset",
    type=INPUT,
    metavar="FILE",
    help="The data set, in that trainer's layout: JSON lines or Parquet.",
)
@click.option("--url", callback=service_url, help="Try one row with the service there.")
@setting_option("api_token", "That service's token, if it has one.", metavar="TOKEN")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Rows to look at.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print the data set's findings as JSON.")
@judge_options
def command(
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
        given = {"dataset": dataset, "url": url, "api_token": api_token or None, "limit": limit}
        if idle := given_flags({**given, "json": as_json or None}):
            raise click.UsageError(f"{', '.join(idle)} is for a data set; name its --trainer")
        sys.exit(_examine_judge(flags))
    if dataset is None:
        raise click.UsageError(f"--trainer {trainer} needs a data set; name it with --dataset")
    if unfit := given_flags(flags):
        raise click.UsageError(f"--trainer examines a data set; drop {', '.join(unfit)}")
    settings = chosen_settings({"api_token": api_token})
    check, trip = _examine_dataset(TRAINERS[trainer], dataset, settings, url, limit)
    if as_json:
        report = {
            "trainer": trainer,
            "dataset": str(dataset),
            "rows": check.rows,
            "findings": [asdict(each) for each in check.findings],
            "round_trip": None if trip is None else asdict(trip),
        }
        click.echo(json.dumps(report, indent=2))
    else:
        _show_dataset(TRAINERS[trainer], dataset, check, trip)
    sys.exit(int(any(each.severity is Severity.ERROR for each in check.findings)))


def _examine_judge(flags: dict[str, Any]) -> int:
    if flags["judge_url"] is not None and flags["judge"] is None:
        # The default judge has no server, so the named one must be vLLM's.
        flags = {**flags, "judge": "vllm"}
    servers = split_servers(chosen_settings(flags)).values()

    async def examine_servers() -> list[ServerFinding]:
        return [finding for alone in servers for finding in await examine(alone)]

    findings = asyncio.run(examine_servers())
    table = Table(show_header=False, **_TABLE)
    for finding in findings:
        state = plain(finding.state.value, _STATES[finding.state])
        table.add_row(plain(finding.aspect.replace("_", " ")), state, plain(finding.seen))
    Console().print(table)
    return int(any(finding.state is State.FAILED for finding in findings))


def _examine_dataset(
    trainer: Trainer, dataset: Path, settings: Settings, url: str | None, limit: int | None
) -> tuple[DatasetCheck, Trip | None]:
    rows, library = RowFile(dataset), load_library(settings.rubrics_dir)
    form, zipped = rows.find_form()
    check = DatasetCheck(trainer, settings, library, typed=form is Form.TABLE)
    total = rows.count()
    if total is not None and limit is not None:
        total = min(total, limit)
    with Progress(Console(stderr=True), total, "reading") as progress:
        for numbered in progress.track(itertools.islice(rows, limit)):
            check.check(numbered)
    fix = f"citemark convert writes {trainer.suffixes[0]}"
    if form is Form.TABLE and PARQUET not in trainer.suffixes:
        check.note("file", [error("file", f"{trainer.title} does not read {PARQUET}", fix)])
    elif form is Form.ARRAY or zipped:
        kind = "gzip" if zipped else form.value
        check.note("file", [warning("file", f"is {kind}, which not every loader reads", fix)])
    if not check.rows:
        check.note("file", [error("file", "has no rows", "is it the right one?")])
    if url is None or check.sound is None:
        return check, None
    trip = asyncio.run(make_round_trip(trainer, check.sound, url, settings))
    check.note(trip.place, trip.faults)
    return check, trip


def _show_dataset(trainer: Trainer, dataset: Path, check: DatasetCheck, trip: Trip | None) -> None:
    counts = Counter(each.severity for each in check.findings)
    kinds = ", ".join(count_noun(counts[each], each.value) for each in Severity)
    click.echo(f"{dataset}: {count_noun(check.rows, 'row')} for {trainer.title}, {kinds}")
    click.echo(f"the envelope travels in {trainer.carries}")
    if check.findings:
        table = Table("", "rows", "field", "what is wrong, and what to do", "first", **_HEADED)
        for each in check.findings:
            severity = plain(each.severity, _SEVERITIES[each.severity])
            advice, examples = f"{each.problem}\n→ {each.fix}", "\n".join(each.examples)
            texts = map(plain, (str(each.count), each.field, advice, examples))
            table.add_row(severity, *texts)
        show(table)
    if trip is not None and trip.legs:
        how = f"in {trainer.title}'s own dialect"
        if trainer.posts is None:
            how = f"as {trainer.title}'s function would post it"
        click.echo(f"\nround trip of {trip.place}, {how}:")
        table = Table("answer", "route", "reward", "/v1/score", **_HEADED)
        for leg in trip.legs:
            table.add_row(leg.answer, leg.route, f"{leg.reward:.3f}", f"{leg.scored:.3f}")
        show(table)
