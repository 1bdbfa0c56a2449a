"""Reading rollouts from rows: each is a rollout or a bad row, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_service.cli.rows import BadRow, RolloutRow, RowReader
from citemark_service.row_files import parse_line

ROW = {"question": "q", "tool_output": "", "response": "r"}


def reader_of(*values: Any) -> RowReader:
    """A reader of lines with these values; bytes are lines as they are."""
    lines = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    return RowReader(parse_line(number, line) for number, line in enumerate(lines, start=1))


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_rows_or_bad_lines(lines: list[bytes]) -> None:
    assert len(list(reader_of(*lines))) == len(lines)


def test_columns_that_are_not_read_are_named() -> None:
    alike = ["response_id", "question_type", "idx", "label", "responses"]  # as fields, but none
    values: list[dict[str, Any]] = [
        {"split": "train"},
        {"source": "x", "metadata": {"split": "kept", "group": 7}},
        dict.fromkeys(alike, "1"),
    ]
    reader = reader_of(*({**ROW, **each} for each in values))
    _, second, _ = (row.rollout for row in reader if isinstance(row, RolloutRow))
    assert second.group == "7"
    assert list(reader.notes.left) == ["split", "source", "metadata.split", *alike]


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
    message = f"row.{column}: is unknown; did you mean {field!r}?"
    assert list(reader_of({**ROW, column: 1})) == [BadRow("line 1", message)]


def test_every_field_is_known_and_may_be_null() -> None:
    reader = reader_of(dict.fromkeys(Rollout.model_fields) | ROW | {"id": "a"})
    assert isinstance(next(iter(reader)), RolloutRow)
    assert reader.notes.left == {}


@pytest.mark.parametrize(
    ("values", "line", "message"),
    [
        ([b"[1]"], 1, "is not a JSON object"),
        ([b'{"question": '], 1, "is not JSON"),
        ([b"\xff\xfe"], 1, "is not JSON"),
        ([b"[" * 100_000], 1, "recursion limit"),
        ([{"question": "q", "response": "r"}], 1, "tool_output=COLUMN, or say --no-sources"),
        ([b'{"question": "\\ud800", "tool_output": "", "response": ""}'], 1, "hex escape"),
        ([{**ROW, "positive_rubrics": [{"weight": 1}]}], 1, "positive_rubrics[0]: "),
        ([{**ROW, "id": each} for each in "aba"], 3, "id 'a' is that of line 1 already"),
        ([{**ROW, "id": "1"}, ROW], 2, "id '1' is that of line 1 already"),
    ],
)
def test_a_bad_line_says_what_is_wrong(values: list[Any], line: int, message: str) -> None:
    (bad,) = (row for row in reader_of(*values) if isinstance(row, BadRow))
    assert bad.place == f"line {line}"
    assert message in bad.message
