"""`citemark agree`: a judge against labels by people."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from citemark_service.agreement import Agreement, measure
from citemark_service.cli.options import INPUT, chosen_settings, judge_options
from citemark_service.cli.terminal import build_table, plain, show
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


@click.command("agree")
@click.argument("files", nargs=-1, required=True, type=INPUT)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@judge_options
def command(*, files: tuple[Path, ...], concurrency: int, **flags: Any) -> None:
    """Measure a judge on labelled FILES: claims with their support, or rubric criteria.

    BA is balanced accuracy, at the threshold 0.5 and at the best one. Files of whole rollouts
    are skipped. Exit status 1 where judgements failed, 2 where a file is not labelled rows.
    """
    agreements = asyncio.run(_measure_files(files, chosen_settings(flags), concurrency))
    table = build_table(["file"], ["rows", "failed", "BA at 0.5", "best BA", "threshold", "AUC"])
    for agreement in agreements:
        rows = [(agreement.file, str(agreement.failed), agreement.figures)]
        rows += [(f"  {title}", "", figures) for title, figures in agreement.by_criterion.items()]
        for name, failed, figures in rows:
            if figures is not None:
                best, threshold = figures.balanced_accuracy_best, figures.threshold_best
                measures = (figures.balanced_accuracy, best, threshold, figures.auc)
                shown = ("–" if value is None else f"{value:.3f}" for value in measures)
                table.add_row(*map(plain, (name, str(figures.rows), failed, *shown)))
    show(table)
    sys.exit(1 if any(agreement.failed for agreement in agreements) else 0)


async def _measure_files(
    files: tuple[Path, ...], settings: Settings, concurrency: int
) -> list[Agreement]:
    # One file after another, so that the status shows how far a slow judge is.
    console, agreements = Console(stderr=True), []
    async with aclosing(build_judge(settings, Metrics())) as judge:
        for file in files:
            with console.status(f"{judge.identity.model} judges {file.name}"):
                agreement = await measure(judge, file, concurrency=concurrency)
            if agreement.skipped:
                console.print(plain(f"{file.name}: skipped: {agreement.skipped}", "yellow"))
            else:
                agreements.append(agreement)
    return agreements
