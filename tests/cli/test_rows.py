"""Reading rollouts from rows: each is a rollout or a bad row, and nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from citemark_schemas import Rollout
from citemark_service.cli.convert import Converter
from citemark_service.cli.rows import BadRow, RolloutRow, RowReader
from citemark_service.row_files import Numbered, parse_line
from citemark_service.score.rollout import rollout_hash
from citemark_service.shapes.plan import ReadPlan
from citemark_service.trainers.rows import PromptTemplate
from citemark_service.trainers.table import LAYOUTS

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


ROLES = st.sampled_from(["user", "assistant", "tool", "human", "gpt"])
TEMPLATE = PromptTemplate()
WORDS = st.sampled_from(["", "a", "q?", '{"a": 1}', '["x"]', "<snippet id=a>b</snippet>"])
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "from", "value"]), WORDS | ROLES, max_size=3
    ),
    max_size=2,
)
OBJECTS = st.lists(
    st.dictionaries(st.sampled_from(["id", "text", "points", "rank"]), WORDS | st.integers(-2, 2)),
    max_size=2,
)
CELLS = st.none() | st.integers(0, 3) | WORDS | st.lists(WORDS, max_size=2) | MESSAGES | OBJECTS
COLUMNS = (
    "question query documents docs snippets messages conversations conversation prompt qid id "
    "tool_output response rubrics positive_rubrics label answer extra_info group knobs"
)
NAMES = st.sampled_from(COLUMNS.split())
INNER = st.dictionaries(NAMES, CELLS, max_size=3)


@given(st.dictionaries(NAMES, CELLS | INNER | INNER.map(json.dumps), max_size=3), st.booleans())
def test_what_score_takes_convert_takes_and_what_the_service_takes_both(
    row: dict[str, Any], plain: bool
) -> None:
    row = {**row, **ROW} if plain else {**ROW, **row}
    (read,) = RowReader([Numbered("line 1", row)])
    converter = Converter(LAYOUTS["trl"], TEMPLATE, ReadPlan())
    try:
        converter.convert(Numbered("line 1", row), 0)
        refused = False
    except ValueError:
        refused = True
    if isinstance(read, BadRow):
        assert refused or "response" in read.message
    else:
        assert not refused
    try:
        served = Rollout.model_validate(row)
    except ValidationError:
        return
    assert isinstance(read, RolloutRow), read
    assert rollout_hash(read.rollout) == rollout_hash(served)
