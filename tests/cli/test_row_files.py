"""Files of rows are read for what they hold: lines, arrays, objects around one, gzip, Parquet."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.errors import DataError
from citemark_service.row_files import Form, RowFile
from support.command_line import cli

ROWS = [{"id": f"é{n}", "n": n} for n in range(5)]
ROLLOUT = {"question": "When?", "tool_output": "", "response": "<answer>In 1963.</answer>"}

Encode = Callable[[Any], bytes]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


WAYS: dict[str, tuple[Encode, Form, str]] = {
    "lines": (lines, Form.LINES, "line 2"),
    "array": (lambda rows: json.dumps(rows).encode(), Form.ARRAY, "item 2"),
    "array over lines": (lambda rows: json.dumps(rows, indent=1).encode(), Form.ARRAY, "item 2"),
    "byte order mark": (lambda rows: b"\xef\xbb\xbf" + lines(rows), Form.LINES, "line 2"),
    "object": (
        lambda rows: json.dumps({"version": 1, "data": rows}).encode(),
        Form.LINES,
        "line 1, item 2",
    ),
    "object over lines": (
        lambda rows: json.dumps({"rows": rows}, indent=1).encode(),
        Form.LINES,
        "line 1, item 2",
    ),
    "table": (table, Form.TABLE, "row 2"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_rows_are_read_whatever_the_name(tmp_path: Path, way: str, zipped: bool) -> None:
    encode, form, place = WAYS[way]
    raw = encode(ROWS)
    path = tmp_path / "rows.txt"
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    file = RowFile(path)
    assert file.find_form() == (form, zipped)
    if zipped and form is Form.TABLE:
        with pytest.raises(DataError, match="is Parquet in gzip; unpack it"):
            list(file)
        return
    for read in (list(file), list(file)):  # again from the start
        assert [each.row for each in read] == ROWS
        assert read[1].place == place
    assert file.count() in (5, None) or "object" in way
    assert list(file.beside) == (["version"] if way == "object" else [])


@pytest.mark.parametrize("way", [name for name in WAYS if name != "table"])
@pytest.mark.parametrize("zipped", [False, True])
def test_standard_input_is_told_apart_too(way: str, zipped: bool) -> None:
    raw = WAYS[way][0]([{**ROLLOUT, "id": "a"}, {**ROLLOUT, "id": "b"}])
    result = cli("score", "-", input=gzip.compress(raw) if zipped else raw)
    assert {json.loads(line)["id"] for line in result.stdout.splitlines()} == {"a", "b"}


def test_every_command_reads_every_form(tmp_path: Path) -> None:
    labelled = [
        {"claim": "It swims.", "snippets": [{"id": "a", "text": "It swims."}], "human_label": label}
        for label in ("supported", "not_supported")
    ]
    for way, (encode, *_) in WAYS.items():
        path, out = tmp_path / "rollouts.any", tmp_path / "out.jsonl"
        path.write_bytes(encode([{**ROLLOUT, "id": way}]))
        assert json.loads(cli("score", path).stdout)["id"] == way
        assert way in cli("explain", path, "--id", way).stdout
        cli("convert", path, out, "--to", "trl", says="1 row converted")
        assert (
            "1 row for TRL" in cli("doctor", "--trainer", "trl", "--dataset", path, status=1).stdout
        )
        path.write_bytes(encode(labelled))
        assert "rollouts.any" in cli("agree", path).stdout


def test_bad_lines_are_named_by_number_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a"}\n\nnot json\n[1]\n{"id": "\\ud800"}\n{"id": "b"}')
    read = [(each.place, bool(each.row), each.problem[:13]) for each in RowFile(path)]
    assert read == [
        ("line 1", True, ""),
        ("line 3", False, "is not JSON: "),
        ("line 4", False, "is not a JSON"),
        ("line 5", False, "is not JSON: "),
        ("line 6", True, ""),
    ]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"[1]\n{}\n", ["line 1: is not a JSON object", "line 2: "]),
        (b'{"rubrics": [], "rubrics": [""]}\n', ["line 1: has the key 'rubrics' twice"]),
        (b'[{"a": 1}, 2]', ["item 1: ", "item 2: is not a JSON object"]),
        (b'[{"a": 1}, {"a"', ["line 1: begins a JSON array that is broken: "]),
        (b"[" * 100_000, ["line 1: begins a JSON array that is broken: "]),
        (b'{\n"a": 1,\n"b"\n', ["line 1: is not JSON", "line 2: is", "line 3: is"]),
        (b'{\n"a": 1\n}\n', ["line 1: "]),
        (b'{"question": "q", "data": [{}]}\n', ["line 1: "]),
        (b"", []),
        (b"\n \n", []),
    ],
)
def test_what_is_no_row_is_named(tmp_path: Path, raw: bytes, told: list[str]) -> None:
    path = tmp_path / "rows"
    path.write_bytes(raw)
    read = [f"{each.place}: {each.problem}" for each in RowFile(path)]
    assert [text[: len(begin)] for text, begin in zip(read, told, strict=True)] == told


def test_a_line_too_long_to_hold_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "' + b"x" * 66 * 2**20 + b'"}\n{"id": "b"}\n')
    first, second = RowFile(path)
    assert first.problem == "is longer than 64 MiB"
    assert (second.place, second.row) == ("line 2", {"id": "b"})


@pytest.mark.parametrize("raw", [b"PAR1 but not really", gzip.compress(lines(ROWS), mtime=0)[:-9]])
def test_a_broken_file_is_said_to_be_one(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "rows.any"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="cannot read"):
        list(RowFile(path))
    cli("score", path, status=2, says="cannot read")


def test_a_null_of_a_table_is_an_absent_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(table([{**ROLLOUT, "citation_weight": each} for each in (None, 0.5)]))
    knobs = [json.loads(line)["knobs"] for line in cli("score", path).stdout.splitlines()]
    assert {each["citation_weight"] for each in knobs} == {0.2, 0.5}


@given(st.binary(max_size=60))
def test_any_bytes_are_rows_or_problems(tmp_path_factory: Any, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "rows"
    path.write_bytes(raw)
    try:
        for each in RowFile(path):
            assert (each.row is None) == bool(each.problem)
    except DataError:
        assert raw.startswith((b"\x1f\x8b", b"PAR1"))
