"""A results file survives interruptions, and nothing that is no results file is touched."""

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Failure, FailureKind, ScoreResult
from citemark_service.cli.results import FileResults
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
def test_rewards_are_kept_once_in_the_order_of_the_input(tmp_path, before, kept, written, after):
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
def test_a_cut_anywhere_leaves_the_whole_lines(whole, share):
    kept = lines_of(*[scored(f"r{index}") for index in range(whole)])
    last = lines_of(scored("cut"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        path.write_bytes(kept + last[: int(share * (len(last) - 2))])
        FileResults(path).settle([])
        assert path.read_bytes() == kept


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_bytes(lines_of(FAILED))
    target.chmod(0o640)
    link.symlink_to(target)
    with closing(FileResults(link)) as results:
        results.write(A)
    assert link.is_symlink()
    assert target.read_bytes() == lines_of(A)
    assert target.stat().st_mode & 0o777 == 0o640
