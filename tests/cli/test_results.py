"""A results file survives interruptions, and nothing that is no results file is touched."""

import io
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_schemas import Failure, FailureKind, ScoreResult
from citemark_service.cli.results import FileResults, StreamResults
from citemark_service.errors import DataError
from support.scripted_service import scored

FAILURE = Failure(kind=FailureKind.TIMEOUT, message="too slow", retryable=True)


def failed(name: str) -> ScoreResult:
    return scored(name).model_copy(update={"reward": None, "failure": FAILURE})


def lines_of(*results: ScoreResult) -> bytes:
    return b"".join(result.model_dump_json().encode() + b"\n" for result in results)


def ids_in(path: Path) -> list[str]:
    return [ScoreResult.model_validate_json(line).id for line in path.read_bytes().splitlines()]


def test_rewards_are_kept_and_failures_are_not(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines_of(scored("a"), failed("b"), scored("c")))
    with closing(FileResults(path)) as results:
        assert results.kept.keys() == {"a", "c"}
    assert ids_in(path) == ["a", "c"]


@settings(max_examples=40)
@given(st.integers(0, 3), st.floats(0, 1))
def test_a_cut_anywhere_leaves_the_whole_lines(whole: int, share: float) -> None:
    kept = [scored(f"r{index}") for index in range(whole)]
    last = lines_of(scored("cut"))
    rest = last[: int(share * (len(last) - 2))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.jsonl"
        path.write_bytes(lines_of(*kept) + rest)
        FileResults(path).settle([])
        assert path.read_bytes() == lines_of(*kept)


def test_a_last_line_without_its_newline_is_kept_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines_of(scored("a"))[:-1])
    with closing(FileResults(path)) as results:
        results.write(scored("b"))
    assert ids_in(path) == ["a", "b"]


def test_the_finished_file_has_the_order_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines_of(scored("other"), scored("c")))
    results = FileResults(path)
    for name in ("b", "a"):
        results.write(scored(name))
    results.settle(["a", "b", "c"])
    assert ids_in(path) == ["other", "a", "b", "c"]


def test_a_repeated_result_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines_of(scored("a", 0.0), scored("a", 1.0)))
    FileResults(path).settle(["a"])
    assert path.read_bytes() == lines_of(scored("a", 1.0))


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
    target.write_bytes(lines_of(failed("a")))
    target.chmod(0o640)
    link.symlink_to(target)
    with closing(FileResults(link)) as results:
        results.write(scored("a"))
    assert link.is_symlink()
    assert ids_in(target) == ["a"]
    assert target.stat().st_mode & 0o777 == 0o640


def test_standard_output_keeps_nothing() -> None:
    stream = io.BytesIO()
    results = StreamResults(stream)
    results.write(scored("a"))
    assert "a" not in results.kept
    assert stream.getvalue() == lines_of(scored("a"))
