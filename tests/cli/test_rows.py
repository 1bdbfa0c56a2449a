"""Reading rollouts from JSON lines: each line is a row or a bad line, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_service.cli.rows import BadLine, RolloutRow, RowReader

ROW = {"question": "q", "tool_output": "", "response": "r"}


def reader_of(*values: Any) -> RowReader:
    """A reader of lines with these values; bytes are lines as they are."""
    return RowReader(v if isinstance(v, bytes) else json.dumps(v).encode() + b"\n" for v in values)


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_rows_or_bad_lines(lines: list[bytes]) -> None:
    filled = [line for line in lines if line.strip()]
    assert len(list(RowReader(lines))) == len(filled)


def test_blank_lines_count_as_lines_but_not_as_rows() -> None:
    raw = json.dumps(ROW).encode()
    rows = reader_of(b"\xef\xbb\xbf" + raw, b"  \n", raw)
    places = [(row.line, row.id) for row in rows if isinstance(row, RolloutRow)]
    assert places == [(1, "0"), (3, "1")]


def test_unknown_columns_move_into_the_metadata() -> None:
    alike = ["response_id", "question_type", "idx", "label", "responses"]  # as fields, but none
    values: list[dict[str, Any]] = [
        {"split": "train"},
        {"source": "x", "metadata": {"split": "kept"}},
        dict.fromkeys(alike, 1),
    ]
    reader = reader_of(*({**ROW, **each} for each in values))
    metadata = [row.rollout.metadata for row in reader if isinstance(row, RolloutRow)]
    assert metadata[:2] == [{"split": "train"}, {"source": "x", "split": "kept"}]
    assert metadata[2] == dict.fromkeys(alike, 1)
    assert list(reader.moved) == ["split", "source", *alike]


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("citation_wieght", "citation_weight"),
        ("positive_rubric", "positive_rubrics"),
        ("negativeRubrics", "negative_rubrics"),
        ("finish-reason", "finish_reason"),
        ("static_rubric", "static_rubrics"),
    ],
)
def test_a_misspelt_field_is_an_error_with_a_hint(column: str, field: str) -> None:
    message = f"column {column!r} is unknown; did you mean {field!r}?"
    assert list(reader_of({**ROW, column: 1})) == [BadLine(1, message)]


def test_every_field_is_known() -> None:
    reader = reader_of(dict.fromkeys(Rollout.model_fields) | ROW | {"id": "a"})
    assert isinstance(next(iter(reader)), BadLine)  # a knob may be absent, but not null
    assert reader.moved == {}


@pytest.mark.parametrize(
    ("values", "line", "message"),
    [
        ([b"[1]"], 1, "is not a JSON object"),
        ([b'{"question": '], 1, "is not JSON"),
        ([b"\xff\xfe"], 1, "is not JSON"),
        ([b"[" * 100_000], 1, "recursion limit"),
        ([{"question": "q", "response": "r"}], 1, "needs tool_output or snippets"),
        ([b'{"question": "\\ud800", "tool_output": "", "response": ""}'], 1, "hex escape"),
        ([{**ROW, "positive_rubrics": [{"weight": 1}]}], 1, "positive_rubrics[0]: "),
        ([{**ROW, "id": each} for each in "aba"], 3, "id 'a' is that of line 1 already"),
        ([{**ROW, "id": "1"}, ROW], 2, "id '1' is that of line 1 already"),
    ],
)
def test_a_bad_line_says_what_is_wrong(values: list[Any], line: int, message: str) -> None:
    (bad,) = (row for row in reader_of(*values) if isinstance(row, BadLine))
    assert bad.line == line
    assert message in bad.message


def test_an_object_over_many_lines_is_one_row() -> None:
    lines = json.dumps(ROW, indent=2).encode().splitlines(keepends=True)
    (row,) = RowReader(lines)
    assert isinstance(row, RolloutRow)
    assert len(list(RowReader(lines[:-1]))) == len(lines) - 1
