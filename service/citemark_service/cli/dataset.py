"""A data set examined for one trainer, as `citemark doctor` tells of it."""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from citemark_rubrics import load_library
from citemark_service.cli.printable import plain, show
from citemark_service.cli.progress import Progress
from citemark_service.cli.wording import counted
from citemark_service.judges.language.render import PromptWriter
from citemark_service.settings import Settings
from citemark_service.trainers.checks import Limits
from citemark_service.trainers.faults import Severity, error
from citemark_service.trainers.files import PARQUET, count_of, rows_of, suffix_of
from citemark_service.trainers.round_trip import Trip, calling, round_trip
from citemark_service.trainers.survey import Finding, Sound, Survey
from citemark_service.trainers.trainer import Trainer

_COLOURS: Final = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found."""

    trainer: Trainer
    dataset: Path
    rows: int
    findings: list[Finding]
    trip: Trip | None
    """None where no service was asked."""

    @property
    def exit_code(self) -> int:
        """1 where there is an error, else 0."""
        return int(any(each.severity is Severity.ERROR for each in self.findings))

    def show(self, *, as_json: bool) -> None:
        """Print everything."""
        if as_json:
            click.echo(json.dumps(self._plainly(), indent=2))
            return
        rows = counted(self.rows, "row")
        click.echo(f"{self.dataset}: {rows} for {self.trainer.title}, {self._counts()}")
        click.echo(f"the envelope travels in {self.trainer.carries}")
        if self.findings:
            show(_finding_table(self.findings))
        if self.trip is not None and self.trip.legs:
            click.echo(_told(self.trainer, self.trip))
            show(_leg_table(self.trip))

    def _counts(self) -> str:
        counts = Counter(each.severity for each in self.findings)
        return ", ".join(counted(counts[each], each.value) for each in Severity)

    def _plainly(self) -> dict[str, object]:
        return {
            "trainer": self.trainer.name,
            "dataset": str(self.dataset),
            "rows": self.rows,
            "findings": [asdict(each) for each in self.findings],
            "round_trip": None if self.trip is None else asdict(self.trip),
        }


def examine_dataset(
    trainer: Trainer, dataset: Path, settings: Settings, *, url: str | None, limit: int | None
) -> Examined:
    """Look at every row, or the first `limit`, and try one with the service at `url`.

    Raises:
        DataError: the file cannot be read at all.
    """
    survey = _survey(trainer, dataset, _limits(settings), limit)
    trip = None
    if url is not None and survey.sound is not None:
        trip = asyncio.run(_tried(trainer, survey.sound, url, settings))
        survey.note(trip.place, trip.faults)
    return Examined(trainer, dataset, survey.rows, survey.findings, trip)


def _limits(settings: Settings) -> Limits:
    return Limits(
        rollout_bytes=settings.max_rollout_bytes,
        prompt=PromptWriter(secret=b"").budget,
        knobs=settings,
        library=load_library(settings.rubrics_dir),
    )


def _survey(trainer: Trainer, dataset: Path, limits: Limits, limit: int | None) -> Survey:
    suffix = suffix_of(dataset)
    survey = Survey(trainer, limits, typed=suffix == PARQUET)
    total = count_of(dataset)
    with Progress(Console(stderr=True), min(total, limit or total), "reading") as progress:
        for numbered in itertools.islice(rows_of(dataset), limit):
            survey.take(numbered)
            progress.advance()
    if suffix not in trainer.suffixes:
        fix = f"citemark convert writes {trainer.suffixes[0]}"
        survey.note("file", [error("file", f"{trainer.title} does not read {suffix}", fix)])
    if not survey.rows:
        survey.note("file", [error("file", "has no rows", "is it the right one?")])
    return survey


async def _tried(trainer: Trainer, sound: Sound, url: str, settings: Settings) -> Trip:
    async with calling(url, settings.api_token) as caller:
        return await round_trip(trainer, sound, caller)


def _finding_table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("", "rows", "field", "what is wrong, and what to do", "first"):
        table.add_column(column)
    for each in findings:
        table.add_row(
            plain(each.severity, _COLOURS[each.severity]),
            str(each.count),
            plain(each.field),
            plain(f"{each.problem}\n→ {each.fix}"),
            plain("\n".join(each.examples)),
        )
    return table


def _told(trainer: Trainer, trip: Trip) -> str:
    how = f"in {trainer.title}'s own dialect"
    if trainer.dialect is None:
        how = f"as {trainer.title}'s function would post it"
    return f"\nround trip of {trip.place}, {how}:"


def _leg_table(trip: Trip) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("answer", "route", "reward", "/v1/score"):
        table.add_column(column)
    for leg in trip.legs:
        table.add_row(leg.answer, leg.route, f"{leg.reward:.3f}", f"{leg.scored:.3f}")
    return table
