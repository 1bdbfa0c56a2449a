"""`citemark agree`: a judge against what people said."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from citemark_service.agreement.figures import Figures
from citemark_service.agreement.measure import Agreement, measure
from citemark_service.cli.options import chosen_settings, judge_options
from citemark_service.cli.terminal import plain, show
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

_COLUMNS = ("rows", "failed", "BA at 0.5", "best BA", "threshold", "AUC")


@click.command("agree")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@judge_options
@click.pass_context
def command(
    ctx: click.Context, /, *, files: tuple[Path, ...], concurrency: int, **flags: Any
) -> None:
    """Measure a judge on labelled FILES: claims with their support, or rubric criteria.

    BA is balanced accuracy, at the threshold 0.5 and at the best one. Files of whole rollouts
    are skipped. Exit status 1 where judgements failed, 2 where a file is not labelled rows.
    """
    settings = chosen_settings(flags)
    agreements = asyncio.run(_measure_files(files, settings, concurrency, Console(stderr=True)))
    table = Table("file", box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for agreement in agreements:
        if agreement.figures is not None:
            table.add_row(*_cells(agreement.file, agreement.figures, str(agreement.failed)))
        for title, figures in agreement.by_criterion.items():
            table.add_row(*_cells(f"  {title}", figures, ""))
    show(table)
    ctx.exit(1 if any(agreement.failed for agreement in agreements) else 0)


async def _measure_files(
    files: tuple[Path, ...], settings: Settings, concurrency: int, console: Console
) -> list[Agreement]:
    """One file after another, so that a slow judge shows how far it is."""
    agreements = []
    async with aclosing(build_judge(settings, Metrics())) as judge:
        for file in files:
            with console.status(f"{judge.identity.model} judges {file.name}"):
                agreement = await measure(judge, file, concurrency=concurrency)
            if agreement.skipped:
                console.print(plain(f"{file.name}: skipped: {agreement.skipped}", "yellow"))
            else:
                agreements.append(agreement)
    return agreements


def _cells(name: str, figures: Figures, failed: str) -> Iterator[Text]:
    measures = (
        figures.balanced_accuracy,
        figures.balanced_accuracy_best,
        figures.threshold_best,
        figures.auc,
    )
    shown = ("–" if measure is None else f"{measure:.3f}" for measure in measures)
    return map(plain, (name, str(figures.rows), failed, *shown))
