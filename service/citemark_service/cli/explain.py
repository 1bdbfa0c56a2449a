"""`citemark explain`: one graded rollout, readably."""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from citemark_schemas import Knobs, Rollout, ScoreResult, StreamLine
from citemark_service.cli.options import given_flags, judge_options, parse_knobs, service_url
from citemark_service.cli.render import render_result
from citemark_service.cli.rows import (
    BadLine,
    RolloutRow,
    RowReader,
    is_answer,
    json_rows,
    read_answer,
)
from citemark_service.cli.score import chosen_scorer
from citemark_service.cli.terminal import count_noun, show
from citemark_service.errors import DataError


class _Graded(NamedTuple):
    result: ScoreResult
    rollout: Rollout | None


@click.command("explain")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "wanted", metavar="ID", help="Which one; the first where not given.")
@click.option("--url", callback=service_url, help="Score by the service that runs there.")
@click.option("--knob", "knobs", multiple=True, metavar="NAME=VALUE", help="Of the reward.")
@judge_options
def command(
    *, file: Path, wanted: str | None, url: str | None, knobs: tuple[str, ...], **flags: Any
) -> None:
    """Show how one rollout of FILE got its reward.

    FILE holds results, of `citemark score` or `citemark export` or as a service answered, or
    rollouts, of which one is scored first. Rollouts are shown with their whole answer.
    """
    with file.open("rb") as lines:
        rows = _Rows(lines, str(file))
        if rows.are_results:
            _refuse_scoring(url, flags)
            graded = rows.result(wanted)
        else:
            graded = _scored(rows.rollout(wanted), url, parse_knobs(knobs), flags)
    show(render_result(*graded))


def _refuse_scoring(url: str | None, flags: dict[str, Any]) -> None:
    given = given_flags({"url": url, **flags})
    if given:
        raise click.UsageError(f"FILE holds results, which are shown as they are; drop {given[0]}")


class _Rows:
    """The filled lines of a file, read once, so that a pipe will do. Raises `DataError`."""

    def __init__(self, lines: Iterable[bytes], origin: str) -> None:
        filled = (raw for raw in json_rows(lines) if raw.strip())
        first = next(filled, None)
        if first is None:
            raise DataError(f"{origin} is empty")
        self._lines = itertools.chain([first], filled)
        self._origin = origin
        self.are_results = is_answer(first)

    def result(self, wanted: str | None) -> _Graded:
        """The result with the id `wanted`, or the first; errors of a stream are passed over."""
        errors: list[StreamLine] = []
        for answer, rollout in self._answers():
            if isinstance(answer, StreamLine):
                errors.append(answer)
            elif wanted in (None, answer.id):
                return _Graded(answer, rollout)
        named = "result" if wanted is None else f"result with id {wanted!r}"
        raise DataError(f"{self._origin} has no {named}{_reason(errors, wanted)}")

    def _answers(self) -> Iterator[tuple[ScoreResult | StreamLine, Rollout | None]]:
        for number, raw in enumerate(self._lines, start=1):
            try:
                answers, rollout = read_answer(raw)
            except ValueError as error:
                raise DataError(f"{self._origin}: row {number} is no result") from error
            yield from ((answer, rollout) for answer in answers)

    def rollout(self, wanted: str | None) -> RolloutRow:
        """The rollout with the id `wanted`, or the first that is usable."""
        bad: BadLine | None = None
        for row in RowReader(self._lines):
            if isinstance(row, BadLine):
                bad = bad or row
            elif wanted in (None, row.id):
                return row
        named = "usable rollout" if wanted is None else f"rollout with id {wanted!r}"
        reason = f"; row {bad.line} {bad.message}" if bad else ""
        raise DataError(f"{self._origin} has no {named}{reason}")


def _reason(errors: Sequence[StreamLine], wanted: str | None) -> str:
    """Why there is no result: the error that stands in its place, else how many there are.

    A rollout without an id goes by its place in the stream, counted from 0.
    """
    for line in errors:
        if line.error is not None and wanted in (None, str(line.line - 1)):
            return f"; line {line.line}: {line.error.error}: {line.error.message}"
    return f"; it has {count_noun(len(errors), 'error')}, without ids" if errors else ""


def _scored(row: RolloutRow, url: str | None, knobs: Knobs, flags: dict[str, Any]) -> _Graded:
    async def score() -> ScoreResult:
        async with chosen_scorer(url, knobs, 1, flags) as scorer:
            return await scorer.score(row)

    return _Graded(asyncio.run(score()), row.rollout)
