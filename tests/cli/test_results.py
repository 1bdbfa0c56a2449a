"""Results of a run: a file survives interruptions, and what is no results file is left alone."""

import io
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from citemark_schemas import Failure, FailureKind, Rollout, ScoreResult
from citemark_service.cli.results import FileResults, Made, StreamResults
from citemark_service.cli.rows import RolloutRow
from citemark_service.cli.scoring import Run, Scorer
from citemark_service.cli.terminal import Progress
from citemark_service.errors import DataError
from citemark_service.score.rollout import rollout_hash
from support.scripted_service import scored

A, B, C, OTHER = map(scored, ("a", "b", "c", "other"))
FAILED = scored(
    "b", None, failure=Failure(kind=FailureKind.TIMEOUT, message="slow", retryable=True)
)


def lines_of(*results: ScoreResult) -> bytes:
    return b"".join(result.model_dump_json().encode() + b"\n" for result in results)


@pytest.mark.parametrize(
    ("before", "kept", "written", "after"),
    [
        (lines_of(A, FAILED, C), ["a", "c"], [], [A, C]),
        (lines_of(A)[:-1], ["a"], [B], [A, B]),
        (lines_of(OTHER, C), ["other", "c"], [B, A], [OTHER, A, B, C]),
        (lines_of(scored("a", 0.0), A), ["a"], [], [A]),
    ],
    ids=["a failure", "a whole last line without its end", "the input's order", "a repeated one"],
)
def test_rewards_are_kept_once_in_the_order_of_the_input(
    tmp_path: Path,
    before: bytes,
    kept: list[str],
    written: list[ScoreResult],
    after: list[ScoreResult],
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(before)
    results = FileResults(path)
    assert results.kept.keys() == set(kept)
    for result in written:
        results.write(result)
    results.settle(["a", "b", "c"])
    assert path.read_bytes() == lines_of(*after)


@settings(max_examples=40)
@given(st.integers(0, 3), st.floats(0, 1))
def test_a_cut_anywhere_leaves_the_whole_lines(whole: int, share: float) -> None:
    kept = lines_of(*[scored(f"r{index}") for index in range(whole)])
    last = lines_of(scored("cut"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        path.write_bytes(kept + last[: int(share * (len(last) - 2))])
        FileResults(path).settle([])
        assert path.read_bytes() == kept


@pytest.mark.parametrize("content", [b"precious\n", b"precious", b'{"id": 1}\n', b"{}\n\n"])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match="line 1"):
        FileResults(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_bytes(lines_of(FAILED))
    target.chmod(0o640)
    link.symlink_to(target)
    with closing(FileResults(link)) as results:
        results.write(A)
    assert link.is_symlink()
    assert target.read_bytes() == lines_of(A)
    assert target.stat().st_mode & 0o777 == 0o640


ROLLOUT = Rollout(question="q", tool_output="", response="r")
ROWS = [RolloutRow(line=number + 1, position=number, rollout=ROLLOUT) for number in range(9)]
SAME = Made(rollout_hash(ROLLOUT), {})


class FullDisk(StreamResults):
    """Results of an earlier run of these rows, on a disk that is full."""

    name = "results.jsonl"

    def __init__(self, kept: dict[str, Made]) -> None:
        super().__init__(io.BytesIO())
        self.kept = kept

    def write(self, result: ScoreResult) -> None:
        raise OSError(28, "No space left on device")


async def run_rows(results: StreamResults, concurrency: int = 1) -> tuple[Run, Sequence[int]]:
    """The run, and the positions that were scored."""
    scored_at: list[int] = []

    async def score(row: RolloutRow) -> ScoreResult:
        scored_at.append(row.position)
        return scored(row.id)

    with Progress(Console(file=io.StringIO()), None) as progress:
        run = Run(Scorer(score, lambda _: SAME), results, progress, concurrency)
        await run.score_all(iter(ROWS))
    return run, scored_at


async def test_a_full_disk_ends_the_run() -> None:
    run, scored_at = await run_rows(FullDisk({"0": SAME}))
    assert "No space left" in str(run.aborted)
    assert (run.counts["kept"], scored_at) == (1, [1])


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_stale_results_in_a_pipe_end_the_run_at_the_first(concurrency: int) -> None:
    stale = FullDisk({row.id: Made("of before", {}) for row in ROWS})
    run, scored_at = await run_rows(stale, concurrency)
    assert str(run.aborted).startswith("results.jsonl holds '0' for another rollout")
    assert (run.counts["bad"], run.exit_code, scored_at) == (1, 2, [])
