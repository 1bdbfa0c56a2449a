"""`citemark score`: rollouts in, results out, resumable."""

import asyncio
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from citemark_service.cli.options import (
    chosen_settings,
    judge_options,
    knob_option,
    parse_knobs,
    refuse_overwriting,
    service_url,
    setting_option,
)
from citemark_service.cli.plans import plan_options
from citemark_service.cli.results import FileResults, StreamResults
from citemark_service.cli.rows import RowReader
from citemark_service.cli.scoring import Run, choose_scorer
from citemark_service.cli.terminal import Progress, plain
from citemark_service.errors import DataError
from citemark_service.row_files import RowFile
from citemark_service.settings import JUDGES
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.table import SHAPES

_IN_FLIGHT = 16


@click.command("score")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--url", callback=service_url, help="Score by the service that runs there.")
@setting_option("api_token", "That service's token, if it has one.", metavar="TOKEN")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Results file; an existing one is resumed.",
)
@click.option(
    "--rescore",
    is_flag=True,
    help="With -o, score rows again whose kept results were made of or with something else.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    help=f"Rollouts in flight.  [{_IN_FLIGHT}; {JUDGES['smollm2'].rollouts_at_once} for smollm2]",
)
@plan_options(SHAPES, scored=True)
@knob_option()
@judge_options
def command(
    *,
    file: Path,
    url: str | None,
    api_token: str | None,
    output: Path | None,
    rescore: bool,
    concurrency: int | None,
    plan: ReadPlan,
    knobs: tuple[str, ...],
    **flags: Any,
) -> None:
    """Score the rollouts of FILE: JSON lines, a JSON array, gzip of either, or Parquet.

    FILE may be -, standard input. Rows of public data sets (--from lists them) are recognised
    and read as they are; docs/shapes.md says how.

    A judge scores in this process, or a service at --url does. With -o a run can be interrupted
    and run again: rewards and refusals are kept, failures are scored once more. A result counts
    only for the same rollout, knobs, judge and versions; else the run is refused. Of a service
    its judge, its version and the knobs given here are compared, not its own defaults. Its token
    is better in CITEMARK_API_TOKEN than in a flag, which every user of the machine can read.

    Exit status: 0, 1 where rows failed, 2 where the input was bad, 130 when interrupted.
    """
    if rescore and output is None:
        raise click.UsageError("--rescore is for results that were kept; name them with -o")
    console = Console(stderr=True)
    settings = chosen_settings(flags)
    judge, ignored = None if url else JUDGES[settings.judge], settings.ignored_rubric_keys
    in_flight = concurrency or (judge.rollouts_at_once if judge else _IN_FLIGHT)
    opening = choose_scorer(url, parse_knobs(knobs), in_flight, flags, api_token=api_token)
    if output is not None:
        refuse_overwriting(output, file)
    rows = RowFile(file)
    reader = RowReader(rows, ignored, plan)
    with closing(_open_results(output)) as results:

        async def score() -> Run:
            async with opening as scorer:
                run = Run(scorer, results, progress, in_flight, rescore)
                if rows.rereadable:  # a pipe's rows are compared as they come
                    await run.survey(iter(RowReader(rows, ignored, plan)))
                await run.score_all(iter(reader))
                return run

        with Progress(console, rows.count()) as progress:
            run = asyncio.run(score())
        if not run.counts and not run.aborted:
            raise DataError(f"{rows.name} has no rows")
        reader.notes.show(console, rows.beside, "never judged")
        for warning in run.list_warnings():
            console.print(plain(warning, "yellow"), soft_wrap=True)
        if run.aborted:
            console.print(plain(f"stopped: {run.aborted}", "red"))
        console.print(plain(run.summarise()))
        results.settle(reader.ids)
    sys.exit(run.exit_code)


def _open_results(output: Path | None) -> StreamResults:
    if output is None:
        return StreamResults(sys.stdout.buffer)
    try:
        return FileResults(output)
    except OSError as error:
        raise click.UsageError(f"cannot write {output}: {error.strerror}") from error
