"""Rows from files; the hub's own loader is not tried here."""

from pathlib import Path

import pytest

from citemark_grpo.training.errors import RowsUnusable
from citemark_grpo.training.rows import read_rows


def test_lines_are_read_one_by_one_and_blank_ones_skipped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"rubrics": ["a"]}\n\n{"rubrics": "[]", "more": {"x": 1}}\n')
    assert list(read_rows(str(path), "train")) == [
        {"rubrics": ["a"]},
        {"rubrics": "[]", "more": {"x": 1}},
    ]


@pytest.mark.parametrize("line", ["{", "[1]", "3", "[" * 100_000])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" + line + "\n")
    with pytest.raises(RowsUnusable, match="line 2"):
        list(read_rows(str(path), "train"))


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(RowsUnusable, match=name):
        list(read_rows(str(tmp_path / name), "train"))


@pytest.mark.train
def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"id": str(n), "rubrics": [{"description": "d", "weight": 1.0}]} for n in range(600)]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert list(read_rows(str(path), "train")) == rows


@pytest.mark.train
@pytest.mark.filterwarnings("default")
def test_a_data_set_is_read_by_its_name_and_split(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"question": "q", "rubrics": "[]"}\n')
    assert list(read_rows(str(tmp_path), "test")) == [{"question": "q", "rubrics": "[]"}]
    with pytest.raises(RowsUnusable, match="cannot be loaded"):
        list(read_rows(str(tmp_path), "no_such_split"))


@pytest.mark.train
@pytest.mark.filterwarnings("default")
def test_why_a_folder_is_no_data_set_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "q"}\n{broken\n')
    with pytest.raises(RowsUnusable, match="JSON parse error"):
        list(read_rows(str(tmp_path), "train"))


@pytest.mark.train
def test_a_data_set_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsUnusable, match="cannot be loaded"):
        list(read_rows(str(tmp_path / "nothing"), "train"))
