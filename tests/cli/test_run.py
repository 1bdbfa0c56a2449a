"""A run over many rows: what ends it, and what it counts."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from citemark_schemas import Rollout, ScoreResult
from citemark_service.cli.results import Made, StreamResults
from citemark_service.cli.rows import BadLine, RolloutRow
from citemark_service.cli.scoring import NoService, Run, RunTally, Scorer
from citemark_service.cli.terminal import Progress
from citemark_service.score.rollout import rollout_hash
from support.scripted_service import scored


def row(number: int) -> RolloutRow:
    return RolloutRow(
        line=number + 1,
        position=number,
        rollout=Rollout(question="q", tool_output="", response="r"),
    )


def made(row: RolloutRow) -> Made:
    return Made(rollout_hash(row.rollout), {})


class Falling:
    """A scorer that raises for the rows that it was given errors for."""

    def __init__(self, errors: dict[int, Exception]) -> None:
        self.asked = 0
        self._errors = errors

    async def score(self, row: RolloutRow) -> ScoreResult:
        self.asked += 1
        if row.position in self._errors:
            raise self._errors[row.position]
        return scored(row.id)


class FullDisk(StreamResults):
    """Results that cannot be written."""

    def __init__(self, kept: RolloutRow) -> None:
        super().__init__(io.BytesIO())
        self.kept = {kept.id: made(kept)}

    def write(self, result: ScoreResult) -> None:
        raise OSError(28, "No space left on device")


async def tally_of(
    scorer: Falling,
    rows: Sequence[RolloutRow | BadLine],
    results: StreamResults | None = None,
    concurrency: int = 1,
) -> tuple[RunTally, str]:
    console = Console(file=io.StringIO(), width=200)
    with Progress(console, None) as progress:
        run = Run(
            scorer=Scorer(scorer.score, made),
            results=results or StreamResults(io.BytesIO()),
            progress=progress,
            concurrency=concurrency,
        )
        tally = await run.score_all(iter(rows))
    assert isinstance(console.file, io.StringIO)
    return tally, console.file.getvalue()


async def test_a_service_that_goes_away_ends_the_run() -> None:
    scorer = Falling({1: NoService("gone")})
    tally, _ = await tally_of(scorer, [row(number) for number in range(9)])
    assert (tally.aborted, tally.exit_code) == ("gone", 1)
    assert scorer.asked == 2


async def test_a_full_disk_ends_the_run() -> None:
    scorer = Falling({})
    tally, _ = await tally_of(scorer, [row(number) for number in range(9)], FullDisk(row(0)))
    assert tally.aborted is not None
    assert "No space left" in tally.aborted
    assert (tally.counts["kept"], scorer.asked) == (1, 1)


class Held(StreamResults):
    """Results of an earlier run over rows that have changed since."""

    def __init__(self, rows: Sequence[RolloutRow]) -> None:
        super().__init__(io.BytesIO())
        self.name = "results.jsonl"
        self.kept = {each.id: Made("of before", {}) for each in rows}


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_stale_results_in_a_pipe_end_the_run_at_the_first(concurrency: int) -> None:
    rows = [row(number) for number in range(9)]
    scorer = Falling({})
    tally, _ = await tally_of(scorer, rows, Held(rows), concurrency)
    assert tally.aborted is not None
    assert tally.aborted.startswith("results.jsonl holds '0' for another rollout")
    assert (tally.counts["bad"], tally.exit_code, scorer.asked) == (1, 2, 0)


async def test_complaints_are_bounded() -> None:
    bad = [BadLine(number, "is not JSON") for number in range(1, 31)]
    tally, told = await tally_of(Falling({}), bad)
    assert (tally.counts["bad"], tally.exit_code) == (30, 2)
    assert told.count("is not JSON") == 20
    assert "and 10 more" in told
