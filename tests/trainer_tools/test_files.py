"""Files of rows are written whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from citemark_service.errors import DataError
from citemark_service.row_files import RowFile
from citemark_service.trainers.files import open_writer, replace_file, suffix_of
from citemark_service.trainers.rows import MESSAGES, Shape
from support.command_line import EXAMPLES

COLUMNS: dict[str, Shape] = {"id": str, "n": int, "messages": MESSAGES}
ENDINGS = pytest.mark.parametrize("ending", ["jsonl", "parquet"])
_WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
from citemark_service.cli import main
main(sys.argv[1:])
"""


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    with open_writer(path, COLUMNS) as write:
        for row in rows:
            write(row)
    return path


@ENDINGS
def test_rows_come_back_in_order(tmp_path, ending):
    rows: list[dict[str, object]] = [{"id": f"é{n}", "n": n} for n in range(3000)]
    path = written(tmp_path / f"rows.{ending}", rows)
    assert RowFile(path).count() == 3000
    read = [numbered.row for numbered in RowFile(path)]
    assert [(row["id"], row["n"]) for row in read if row] == [(r["id"], r["n"]) for r in rows]


@ENDINGS
def test_a_file_is_there_once_it_is_whole(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    path.write_text("kept")
    rows: list[dict[str, object]] = [{"id": "a"}, {"id": object()}]
    with pytest.raises(ValueError, match=r"object|is no text"):
        written(path, rows)
    assert path.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_keeps_its_mode_and_its_link(tmp_path):
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replace_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("use", "name", "told"),
    [
        (lambda path: written(path, []), "nowhere/rows.jsonl", "cannot write .*nowhere"),
        (suffix_of, "rows.csv", "must end in .jsonl"),
    ],
)
def test_what_is_no_file_of_rows_is_said(tmp_path, use, name, told):
    with pytest.raises(DataError, match=told):
        use(tmp_path / name)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": 7}, "id: is no text"),
        ({"other": 7}, "the key 'other', for which the file has no column"),
        ({"messages": [{"content": [{"type": "image"}]}]}, r"messages\[0\].content"),
        ({"messages": [{"tool_calls": []}]}, "'tool_calls'"),
    ],
)
def test_a_table_takes_nothing_that_it_would_lose(tmp_path, row, told):
    path = tmp_path / "rows.parquet"
    with pytest.raises(ValueError, match=told), open_writer(path, COLUMNS) as write:
        write(row)
    assert not path.exists()


def test_without_pyarrow_json_lines_work_and_tables_say_what_is_missing(tmp_path):
    def convert(name: str) -> subprocess.CompletedProcess[str]:
        arguments = ["convert", EXAMPLES / "rollouts.jsonl", tmp_path / name, "--to", "trl"]
        command = [sys.executable, "-c", _WITHOUT_PYARROW, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert convert("rows.jsonl").returncode == 0
    failed = convert("rows.parquet")
    assert failed.returncode == 2
    assert "pip install 'citemark[convert]'" in failed.stderr
