"""`citemark agree`: a judge against labels by people."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from citemark_service.agreement import Agreement, measure
from citemark_service.cases import Finding, judge_cases
from citemark_service.cli.options import INPUT, chosen_settings, judge_options
from citemark_service.cli.terminal import build_table, plain, show
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


@click.command("agree")
@click.argument("files", nargs=-1, required=True, type=INPUT)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@click.option("--cases", is_flag=True, help="FILES hold cases with the digits that are right.")
@judge_options
def command(*, files: tuple[Path, ...], concurrency: int, cases: bool, **flags: Any) -> None:
    """Measure a judge on labelled FILES: claims with their support, or rubric criteria.

    With --cases it prints by kind of case how many the judge decides rightly, and each that it does
    not; exit status 1 unless all are right.

    BA is balanced accuracy, at the threshold 0.5 and at the best one. Files of whole rollouts
    are skipped. Exit status 1 where judgements failed, 2 where a file is not labelled rows.
    """
    if cases:
        findings = asyncio.run(_judge_cases(files, chosen_settings(flags), concurrency))
        _show_findings(findings)
        sys.exit(0 if all(finding.right for finding in findings) else 1)
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


async def _judge_cases(
    files: tuple[Path, ...], settings: Settings, concurrency: int
) -> list[Finding]:
    console = Console(stderr=True)
    async with aclosing(build_judge(settings, Metrics())) as judge:
        with console.status(f"{judge.identity.model} judges cases"):
            found = [await judge_cases(judge, file, concurrency=concurrency) for file in files]
    return [finding for each in found for finding in each]


def _show_findings(findings: Sequence[Finding]) -> None:
    wrong = build_table(["wrongly decided", "judge", "right", "why"], [])
    for finding in findings:
        case = finding.case
        if not finding.right:
            item = case.claim or case.sentence or f"{case.criterion}: {case.response}"
            cells = (item, finding.digits or "failed", case.digits, case.why)
            wrong.add_row(*map(plain, cells))
    if wrong.row_count:
        show(wrong)
    kinds = Counter(finding.case.kind for finding in findings)
    right = Counter(finding.case.kind for finding in findings if finding.right)
    table = build_table(["kind of case"], ["right", "of"])
    for kind, count in (*kinds.items(), ("all", kinds.total())):
        table.add_row(plain(kind), str(right[kind] if kind in kinds else right.total()), str(count))
    show(table)
