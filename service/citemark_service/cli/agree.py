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

from citemark_service.agreement.cases import Finding, judge_cases
from citemark_service.agreement.measure import compare, measure
from citemark_service.agreement.report import (
    Report,
    draw_reliability,
    load_report,
    make_report,
    save_report,
    write_card,
)
from citemark_service.cli.options import INPUT, OUTPUT, chosen_settings, judge_options
from citemark_service.cli.terminal import build_table, count_noun, plain, show
from citemark_service.judges.factory import build_judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics


@click.command("agree")
@click.argument("files", nargs=-1, required=True, type=INPUT)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@click.option("--cases", is_flag=True, help="FILES hold cases with the digits that are right.")
@click.option("--output", type=OUTPUT, help="Keep scores and figures as JSON.")
@click.option("--against", type=INPUT, help="Compare with another judge's --output.")
@click.option("--picture", type=OUTPUT, help="Draw the reliability curves as SVG.")
@click.option("--card", is_flag=True, help="Print the figures as YAML for a run's config.")
@judge_options
def command(
    *,
    files: tuple[Path, ...],
    concurrency: int,
    cases: bool,
    output: Path | None,
    against: Path | None,
    picture: Path | None,
    card: bool,
    **flags: Any,
) -> None:
    """Measure a judge on labelled FILES: claims with their support, or rubric criteria.

    BA is balanced accuracy at the threshold 0.5, and at the best one; κw is the kappa of the three
    levels with quadratic weights, ECE the expected calibration error. The 95 % interval of the AUC,
    and --against, are by a bootstrap over questions. Of whole rollouts the citation F1 is compared
    with `expected.f1_default`; without it they are skipped. Exit status 1 where judgements failed,
    2 where a file is not labelled rows.

    With --cases it prints by kind of case how many the judge decides rightly, and each that it does
    not; exit status 1 unless all are right.
    """
    settings = chosen_settings(flags)
    if cases:
        findings = asyncio.run(_judge_cases(files, settings, concurrency))
        _show_findings(findings)
        sys.exit(0 if all(finding.right for finding in findings) else 1)
    other = None if against is None else load_report(against)
    report = asyncio.run(_measure_files(files, settings, concurrency))
    _show_figures(report)
    if other is not None:
        _show_differences(report, other)
    if output is not None:
        save_report(report, output)
    if picture is not None:
        picture.write_text(draw_reliability(report), encoding="utf-8")
    if card:
        click.echo(write_card(report))
    sys.exit(1 if any(agreement.failed for agreement in report.files) else 0)


def _show_figures(report: Report) -> None:
    columns = ["rows", "BA", "best", "at", "AUC", "95 %", "κw", "Brier", "ECE"]
    table = build_table(["file"], columns)
    whole = build_table(["file, whole rollouts"], ["rows", "Pearson", "95 %", "bias", "95 %"])
    for each in report.files:
        if each.kind == "rollouts" and each.figures is not None:
            pairs = (
                (_cell(getattr(each.figures, name)), _range(each.intervals.get(name)))
                for name in ("pearson", "bias")
            )
            cells = (str(each.figures.rows), *(cell for pair in pairs for cell in pair))
            whole.add_row(*map(plain, (each.file, *cells)))
            continue
        rows = [(each.file, each.figures, each.intervals.get("auc"))]
        rows += [(f"  {title}", found, None) for title, found in each.by_criterion.items()]
        for name, found, interval in rows:
            if found is not None:
                best = (found.balanced_accuracy_best, found.threshold_best, found.auc)
                before = map(_cell, (found.balanced_accuracy, *best))
                after = map(_cell, (found.weighted_kappa, found.brier, found.calibration_error))
                cells = (str(found.rows), *before, _range(interval), *after)
                table.add_row(*map(plain, (name, *cells)))
    for each_table in (table, whole):
        if each_table.row_count:
            show(each_table)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else "{:.2f}–{:.2f}".format(*interval)


def _show_differences(report: Report, other: Report) -> None:
    kept = {each.file: each for each in other.files}
    columns = ["rows", report.judge.model, other.judge.model, "difference", "95 %", "p"]
    table = build_table(["both judged", "figure"], columns)
    for each in report.files:
        if each.file in kept:
            rows, found = compare(each, kept[each.file])
            for one in found:
                measures = map(_cell, (one.first, one.second, one.first - one.second))
                cells = (str(rows), *measures, _range(one.interval), f"{one.p:.3f}")
                table.add_row(*map(plain, (each.file, one.figure.replace("_", " "), *cells)))
    show(table)


async def _measure_files(files: tuple[Path, ...], settings: Settings, concurrency: int) -> Report:
    # One file after another, so that the status shows how far a slow judge is.
    console, agreements = Console(stderr=True), []
    async with aclosing(build_judge(settings, Metrics())) as judge:
        for file in files:
            with console.status(f"{judge.identity.model} judges {file.name}"):
                agreement = await measure(judge, file, settings, concurrency=concurrency)
            if agreement.skipped:
                console.print(plain(f"{file.name}: skipped: {agreement.skipped}", "yellow"))
                continue
            if agreement.failed:
                failed = count_noun(agreement.failed, "judgement")
                console.print(plain(f"{file.name}: {failed} failed and count in no figure", "red"))
            agreements.append(agreement)
        return make_report(judge.identity, agreements)


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
