"""A run over many rows: what ends it, and what it counts."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from citemark_schemas import Rollout, ScoreResult
from citemark_service.cli.results import Made, StreamResults
from citemark_service.cli.rows import BadLine, RolloutRow
from citemark_service.cli.scoring import NoService, Run, Scorer
from citemark_service.cli.terminal import Progress
from citemark_service.score.rollout import rollout_hash
from support.scripted_service import scored

ROLLOUT = Rollout(question="q", tool_output="", response="r")
ROWS = [RolloutRow(line=number + 1, position=number, rollout=ROLLOUT) for number in range(9)]
SAME = Made(rollout_hash(ROLLOUT), {})


class Results(StreamResults):
    """Results of an earlier run of these rows, on a disk that is full."""

    name = "results.jsonl"

    def __init__(self, kept: dict[str, Made]) -> None:
        super().__init__(io.BytesIO())
        self.kept = kept

    def write(self, result: ScoreResult) -> None:
        raise OSError(28, "No space left on device")


async def run_rows(
    rows: Sequence[RolloutRow | BadLine],
    results: StreamResults | None = None,
    *,
    gone_at: int | None = None,
    concurrency: int = 1,
) -> tuple[Run, list[int], str]:
    """The run, the positions that were scored, and what was complained about."""
    scored_at: list[int] = []

    async def score(row: RolloutRow) -> ScoreResult:
        scored_at.append(row.position)
        if row.position == gone_at:
            raise NoService("gone")
        return scored(row.id)

    shown = io.StringIO()
    with Progress(Console(file=shown, width=200), None) as progress:
        scorer = Scorer(score, lambda _: SAME)
        run = Run(scorer, results or StreamResults(io.BytesIO()), progress, concurrency)
        await run.score_all(iter(rows))
    return run, scored_at, shown.getvalue()


async def test_a_service_that_goes_away_ends_the_run() -> None:
    run, scored_at, _ = await run_rows(ROWS, gone_at=1)
    assert (run.aborted, run.exit_code, scored_at) == ("gone", 1, [0, 1])


async def test_a_full_disk_ends_the_run() -> None:
    run, scored_at, _ = await run_rows(ROWS, Results({"0": SAME}))
    assert run.aborted is not None
    assert "No space left" in run.aborted
    assert (run.counts["kept"], scored_at) == (1, [1])


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_stale_results_in_a_pipe_end_the_run_at_the_first(concurrency: int) -> None:
    stale = Results({row.id: Made("of before", {}) for row in ROWS})
    run, scored_at, _ = await run_rows(ROWS, stale, concurrency=concurrency)
    assert run.aborted is not None
    assert run.aborted.startswith("results.jsonl holds '0' for another rollout")
    assert (run.counts["bad"], run.exit_code, scored_at) == (1, 2, [])


async def test_complaints_are_bounded() -> None:
    run, _, told = await run_rows([BadLine(number, "is not JSON") for number in range(1, 31)])
    assert (run.counts["bad"], run.exit_code) == (30, 2)
    assert told.count("is not JSON") == 20
    assert "and 10 more" in told
