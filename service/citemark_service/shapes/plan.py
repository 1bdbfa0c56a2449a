"""How the rows of one file are read: as a known shape, with columns mapped by the user. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from citemark_schemas import Criterion, Rollout
from citemark_schemas.cells import object_in
from citemark_schemas.envelope import RUBRIC_COLUMNS, structure_in
from citemark_schemas.transcript import sources_in
from citemark_service.shapes.readers import Fields, Row, look
from citemark_service.shapes.table import RowShape, find_shape, unread_columns

_REFERENCES: Final = (
    "reference_answer", "expected_answer", "ideal_completion",
    "ideal_completions_data.ideal_completion", "gold_answer", "reference_submission",
    "orig_reference_answer", "ground_truth", "reward_model.ground_truth", "answer", "label",
    "target",
)  # fmt: skip
"""Where data sets keep the answer that is right, most explicit first."""
_SOURCES: Final = frozenset({"tool_output", "snippets", "documents", "ctxs", "docs"})
_OPEN: Final = "<answer>"


@dataclass(frozen=True, slots=True)
class ReadRow:
    fields: Fields
    shape: RowShape | None = None
    left: tuple[str, ...] = ()
    """Columns that the shape leaves behind, as dotted paths; all are read where it is None."""
    reference: str | None = None
    """The row's reference answer, if it is to be a criterion."""
    reference_at: str = ""
    wrapped: bool = False
    """Whether a response without an answer block was taken as one."""

    def add_reference(self, rollout: Rollout) -> Rollout:
        """The rollout with the reference answer as its last positive criterion, if there is one."""
        if self.reference is None:
            return rollout
        criterion = Criterion(
            title="Reference answer",
            description=f"Agrees with the reference answer: {self.reference}",
            weight=1.0,  # said, so that a number in the answer is not taken for one
        )
        positive = (*rollout.positive_rubrics, criterion)
        return rollout.model_copy(update={"positive_rubrics": positive})


@dataclass(frozen=True, slots=True)
class ReadPlan:
    shape: RowShape | None = None
    """The shape of all rows; None: each row's own, if it has a known one."""
    detect: bool = True
    maps: Mapping[str, str] = field(default_factory=dict)
    """Fields, and the dotted paths of the columns that hold them."""
    reference: bool = False
    no_sources: bool = False
    wraps: Literal["none", "shapes", "all"] = "shapes"
    """Which responses without an answer block are taken as one."""

    def read(self, row: Row) -> ReadRow:
        """A row as fields. Raises `ValueError` where its shape cannot be read."""
        shape = self.shape or (find_shape(row) if self.detect else None)
        values = {name: look(row, path) for name, path in self.maps.items()}
        mapped = {name: value for name, value in values.items() if value is not None}
        at, reference = find_reference(row) if self.reference else ("", None)
        used = (*self.maps.values(), *filter(None, [at]))
        if shape is None:
            renamed = {path for name, path in self.maps.items() if path in row and path != name}
            fields = {name: row[name] for name in row if name not in renamed} | mapped
            left: tuple[str, ...] = ()
        else:
            fields = _read_shape(shape, row) | mapped
            left = tuple(unread_columns(row, shape, used))
        if self.no_sources and not _SOURCES & fields.keys():
            prompts = (fields.get(name) for name in ("prompt", "messages"))
            found = (sources_in(prompt) for prompt in prompts if prompt is not None)
            fields["tool_output"] = next(filter(None, found), "")
        wrapped = self._wrap_answer(fields, shape)
        return ReadRow(fields, shape, left, reference, at, wrapped)

    def _wrap_answer(self, fields: Fields, shape: RowShape | None) -> bool:
        response = fields.get("response")
        if not isinstance(response, str) or not response.strip() or _OPEN in response:
            return False
        if self.wraps == "none" or (shape is None and self.wraps == "shapes"):
            return False
        thought, end, said = response.rpartition("</think>")  # reasoning is no part of an answer
        fields["response"] = f"{thought}{end}{_OPEN}{said}</answer>"
        return True


def _read_shape(shape: RowShape, row: Row) -> Fields:
    columns = [name for name in ("rubrics", *RUBRIC_COLUMNS) if structure_in(row.get(name))]
    if len(columns) > 1:
        raise ValueError(f"{' and '.join(columns)} both look like rubrics: leave one in the row")
    try:
        return shape.read(row)
    except (KeyError, TypeError, AttributeError) as error:  # a row forced into a shape
        reads = ", ".join(shape.reads[:8])
        raise ValueError(f"is not {shape.title}, which has {reads}: {error!r}") from error


def find_reference(row: Row) -> tuple[str, str | None]:
    """Path and text of the answer that a row says is right; an envelope is none."""
    for path in _REFERENCES:
        text = _reference_text(look(row, path))
        if text:
            return path, text
    return "", None


def _reference_text(value: Any) -> str | None:
    if isinstance(value, bool) or object_in(value) is not None:
        return None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return " or: ".join(value)
    return str(value).strip() if isinstance(value, str | int | float) else None
