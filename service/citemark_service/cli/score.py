"""`citemark score`: rollouts in, results out, resumable."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console

from citemark_schemas import Knobs
from citemark_service.cli.options import (
    chosen_settings,
    given_flags,
    judge_options,
    knob_option,
    parse_knobs,
    service_url,
    setting_option,
)
from citemark_service.cli.results import FileResults, StreamResults
from citemark_service.cli.rows import RowReader
from citemark_service.cli.scoring import Run, Scorer, local_scorer, remote_scorer
from citemark_service.cli.terminal import Progress, count_lines, plain
from citemark_service.settings import JUDGES, load_settings

_STDIN = Path("-")
_IN_FLIGHT = 16
_IN_FLIGHT_SMALL = JUDGES["smollm2"].rollouts_at_once


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
    help=f"Rollouts in flight.  [{_IN_FLIGHT}; {_IN_FLIGHT_SMALL} for smollm2]",
)
@knob_option()
@judge_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    file: Path,
    url: str | None,
    api_token: str | None,
    output: Path | None,
    rescore: bool,
    concurrency: int | None,
    knobs: tuple[str, ...],
    **flags: Any,
) -> None:
    """Score the rollouts of FILE, JSON lines; - is standard input.

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
    judge = None if url else JUDGES[chosen_settings(flags).judge]
    in_flight = concurrency or (judge.rollouts_at_once if judge else _IN_FLIGHT)
    opening = chosen_scorer(url, parse_knobs(knobs), in_flight, flags, api_token=api_token)
    with closing(_open_results(output)) as results, _open_lines(file) as (lines, total):
        reader = RowReader(lines)

        async def score() -> Run:
            async with opening as scorer:
                run = Run(
                    scorer=scorer,
                    results=results,
                    progress=progress,
                    concurrency=in_flight,
                    rescore=rescore,
                )
                if lines.seekable():  # a pipe's rows are compared as they come
                    start = lines.tell()
                    await run.survey(iter(RowReader(lines)))
                    lines.seek(start)
                await run.score_all(iter(reader))
                return run

        with Progress(console, total) as progress:
            tally = asyncio.run(score()).tally
        if reader.moved:
            names = ", ".join(reader.moved)
            console.print(plain(f"moved into metadata, never judged: {names}", "yellow"))
        if tally.aborted:
            console.print(plain(f"stopped: {tally.aborted}", "red"))
        console.print(plain(str(tally)))
        results.settle(reader.ids)
    ctx.exit(tally.exit_code)


def chosen_scorer(
    url: str | None,
    knobs: Knobs,
    concurrency: int,
    flags: dict[str, Any],
    *,
    api_token: str | None = None,
) -> AbstractAsyncContextManager[Scorer]:
    """The service's scorer, or one with the judge of the flags and the environment.

    Args:
        api_token: the service's, where it was given as a flag; it wins over the environment.

    Raises:
        click.UsageError: a service is named together with a judge's flags, or a token without.
        SettingsError: as `load_settings`.
    """
    if url is None:
        if api_token is not None:
            raise click.UsageError("--api-token is for a service; name it with --url")
        return local_scorer(chosen_settings(flags), knobs)
    given = given_flags(flags)
    if given:
        raise click.UsageError(f"--url leaves the judge to the service; drop {', '.join(given)}")
    token = load_settings(**({} if api_token is None else {"api_token": api_token})).api_token
    return remote_scorer(url, knobs, concurrency, token)


def _open_results(output: Path | None) -> StreamResults:
    if output is None:
        return StreamResults(sys.stdout.buffer)
    try:
        return FileResults(output)
    except OSError as error:
        raise click.UsageError(f"cannot write {output}: {error.strerror}") from error


@contextmanager
def _open_lines(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file's lines and how many there are, None where that cannot be known."""
    if file == _STDIN:
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as lines:
        yield lines, count_lines(file) if file.is_file() else None
