"""Reading rollouts from JSON lines: each line is a row or a bad line, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_service.cli.rows import BadLine, RolloutRow, RowReader

ROW = {"question": "q", "tool_output": "", "response": "r"}


def read(*values: Any) -> tuple[list[RolloutRow | BadLine], RowReader]:
    reader = RowReader(json.dumps(value).encode() + b"\n" for value in values)
    return list(reader), reader


def told(*values: Any) -> str:
    """The message of the only line that is bad."""
    (bad,) = (row for row in read(*values)[0] if isinstance(row, BadLine))
    return f"line {bad.line}: {bad.message}"


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_rows_or_bad_lines(lines: list[bytes]) -> None:
    filled = [line for line in lines if line.strip()]
    assert len(list(RowReader(lines))) == len(filled)


def test_blank_lines_count_as_lines_but_not_as_rows() -> None:
    raw = json.dumps(ROW).encode()
    first, second = RowReader([b"\xef\xbb\xbf" + raw, b"  \n", raw])
    assert isinstance(first, RolloutRow)
    assert isinstance(second, RolloutRow)
    assert [(row.line, row.id) for row in (first, second)] == [(1, "0"), (3, "1")]


def test_unknown_columns_move_into_the_metadata() -> None:
    values = [{**ROW, "split": "train"}, {**ROW, "source": "x", "metadata": {"split": "kept"}}]
    rows, reader = read(*values)
    metadata = [row.rollout.metadata for row in rows if isinstance(row, RolloutRow)]
    assert metadata == [{"split": "train"}, {"source": "x", "split": "kept"}]
    assert list(reader.moved) == ["split", "source"]


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
    assert told({**ROW, column: 1}) == (
        f"line 1: column {column!r} is unknown; did you mean {field!r}?"
    )


@pytest.mark.parametrize("column", ["response_id", "question_type", "idx", "label", "responses"])
def test_a_column_that_only_resembles_a_field_is_no_error(column: str) -> None:
    (row,), _ = read({**ROW, column: 1})
    assert isinstance(row, RolloutRow)


def test_every_field_is_known() -> None:
    (row,), reader = read(
        {**ROW, **dict.fromkeys(Rollout.model_fields.keys() - ROW.keys() - {"id"})}
    )
    assert reader.moved == {}
    assert isinstance(row, BadLine)  # a knob may be absent, but not null


def test_a_repeated_id_names_both_lines() -> None:
    same = {**ROW, "id": "a"}
    assert told(same, {**ROW, "id": "b"}, same) == "line 3: id 'a' is that of line 1 already"


def test_a_position_can_repeat_an_id() -> None:
    assert told({**ROW, "id": "1"}, ROW) == "line 2: id '1' is that of line 1 already"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[1]", "is not a JSON object"),
        (b'{"question": ', "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"question": "q", "response": "r"}', "needs tool_output or snippets"),
        (b'{"question": "\\ud800", "tool_output": "", "response": ""}', "hex escape"),
    ],
)
def test_a_bad_line_says_what_is_wrong(raw: bytes, message: str) -> None:
    (bad,) = RowReader([raw])
    assert isinstance(bad, BadLine)
    assert message in bad.message


def test_a_bad_rubric_is_named_by_field() -> None:
    assert "positive_rubrics[0]: " in told({**ROW, "positive_rubrics": [{"weight": 1}]})


def test_an_object_over_many_lines_is_one_row() -> None:
    lines = json.dumps(ROW, indent=2).encode().splitlines(keepends=True)
    (row,) = RowReader(lines)
    assert isinstance(row, RolloutRow)
    assert len(list(RowReader(lines[:-1]))) == len(lines) - 1
