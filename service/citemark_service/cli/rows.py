"""Rollouts from files of rows, and results in all forms in which users keep them."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from citemark_schemas import Rollout, ScoreResult, StreamLine, to_details
from citemark_schemas.envelope import NOT_READ, EnvelopeError
from citemark_schemas.rows import read_row
from citemark_schemas.rubric import IGNORED_KEYS
from citemark_service.cli.plans import RowNotes
from citemark_service.row_files import Numbered
from citemark_service.score.formula import restore_terms
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.readers import Row, look
from citemark_service.trainers.table import rollout_anywhere

_NEAR = (
    0.88  # of difflib: "citation_wieght" is .93 from its field, "response_id" .84 from "response"
)
_ASKED = ("query", "problem", "instruction", "input", "prompt", "task")
_ANSWERED = ("output", "completion", "prediction", "generation", "answer", "model_response")
_FOUND = ("context", "search_results", "documents", "ctxs", "docs", "sources")
_RESULT = {"reward", "versions"}  # a rollout has neither
_STREAM_LINE = {"line", "type"}
_EXPORTED = {"rollout", "result"}


@dataclass(frozen=True, slots=True)
class RolloutRow:
    place: str  # as `Numbered.place`
    position: int  # from 0, blank lines not counted
    rollout: Rollout

    @property
    def id(self) -> str:
        return str(self.position) if self.rollout.id is None else self.rollout.id


class BadRow(NamedTuple):
    """A row without a valid rollout; the other rows go on."""

    place: str
    message: str


class RowReader:
    """Iterates once over rows.

    Unknown columns are moved into `metadata` and collected in `moved`. One that looks like a
    misspelt field makes its row bad, as does an id that an earlier row has. `ignored` is the
    setting `ignored_rubric_keys`.
    """

    def __init__(
        self,
        rows: Iterable[Numbered],
        ignored: Set[str] = frozenset(),
        plan: ReadPlan = ReadPlan(),  # noqa: B008 - immutable
    ) -> None:
        self._rows = rows
        self._context = {IGNORED_KEYS: ignored}
        self._plan = plan
        self._place_of: dict[str, str] = {}
        self.moved: dict[str, None] = {}
        self.notes = RowNotes(plan)

    @property
    def ids(self) -> list[str]:
        return list(self._place_of)

    def __iter__(self) -> Iterator[RolloutRow | BadRow]:
        for position, numbered in enumerate(self._rows):
            if numbered.row is None:
                yield BadRow(numbered.place, numbered.problem)
            else:
                yield self._read(numbered.place, numbered.row, position)

    def _read(self, place: str, given: Row, position: int) -> RolloutRow | BadRow:
        try:
            known = self._plan.read(given)
            row = read_row(known.fields)
        except ValueError as error:
            return BadRow(place, str(error))
        if known.shape is not None:
            aside = {path: look(given, path) for path in known.left}
        else:
            unknown = [name for name in row if name not in Rollout.model_fields]
            aside = {name: row.pop(name) for name in unknown}
            for column in aside:
                if field := _guess_field(column, row):
                    return BadRow(place, f"column {column!r} is unknown; did you mean {field!r}?")
        every, metadata = {**aside, **row}, row.get("metadata") or {}
        if aside and isinstance(metadata, dict):
            row["metadata"] = {**aside, **metadata}
        self.moved.update(dict.fromkeys(name for name in aside if name != known.reference_at))
        try:
            rollout = Rollout.model_validate(row, context=self._context)
        except ValidationError as error:
            problems = (f"{each.loc}: {each.message}" for each in to_details(error, root="row"))
            return BadRow(place, "; ".join((*problems, *_ways_out(row, aside))))
        # A row of known fields alone holds no others.
        foreign = known.shape is None and (aside or metadata)
        if foreign and (lost := self._find_unread_rubrics(every, rollout)):
            return BadRow(place, lost)
        self.notes.add(known)
        read = RolloutRow(place, position, known.add_reference(rollout))
        earlier = self._place_of.setdefault(read.id, place)
        if earlier != place:
            return BadRow(place, f"id {read.id!r} is that of {earlier} already")
        return read

    def _find_unread_rubrics(self, row: dict[str, Any], rollout: Rollout) -> str:
        """What a trainer's row would say of rubrics in columns that are not read here."""
        try:
            anywhere = rollout_anywhere(row, self._context[IGNORED_KEYS])
        except EnvelopeError as error:
            apart = (each for each in error.details if each.message in NOT_READ)
            return "; ".join(f"{each.loc}: {each.message}" for each in apart)
        if anywhere.criteria == rollout.criteria:
            return ""
        return (
            "rubrics stand in another column, as a trainer's row carries them, and only 'rubrics', "
            "'positive_rubrics' and 'negative_rubrics' are read: --map rubrics=COLUMN.rubrics"
        )


def _ways_out(row: dict[str, Any], aside: Mapping[str, Any]) -> Iterator[str]:
    """How to name the columns of what a row lacks."""
    if not isinstance(row.get("question"), str):
        seen = next((name for name in _ASKED if name in aside), "COLUMN")
        yield f"name the question's column: --map question={seen}"
    if "response" not in row:
        seen = next((name for name in _ANSWERED if name in aside), "COLUMN")
        yield f"name the response's column: --map response={seen}"
    if row.get("tool_output") is None and row.get("snippets") is None:
        seen = next((name for name in _FOUND if name in aside), "COLUMN")
        yield f"name the sources' column: --map tool_output={seen}, or say --no-sources"


def _guess_field(column: str, row: dict[str, Any]) -> str | None:
    """The absent field of which a column is probably a misspelling."""

    def bare(name: str) -> str:
        return name.casefold().replace("_", "").replace("-", "").replace(" ", "")

    absent = {bare(field): field for field in Rollout.model_fields if field not in row}
    near = difflib.get_close_matches(bare(column), list(absent), n=1, cutoff=_NEAR)
    return absent[near[0]] if near else None


def is_answer(row: Mapping[str, Any]) -> bool:
    """Whether a row looks like a form that `read_answer` takes."""
    return any(row.keys() >= form for form in (_RESULT, _STREAM_LINE, _EXPORTED))


def read_answer(row: Mapping[str, Any]) -> tuple[ScoreResult | StreamLine, Rollout | None]:
    """The result of a row, or the error of a stream line; and the rollout, if the row has it.

        a result                          a line of `citemark score`, or of what `/v1/score` answers
        {"line": …, "type": …, …}         a line of `/v1/score/stream`, a result or an error
        {"rollout": …, "result": …, …}    a line of `citemark export`

    Raises `ValueError` for any other row.
    """
    if row.keys() >= _EXPORTED:
        rollout = Rollout.model_validate(row["rollout"])
        return restore_terms(ScoreResult.model_validate(row["result"])), rollout
    if row.keys() >= _STREAM_LINE:
        line = StreamLine.model_validate(row)
        return (line if line.result is None else restore_terms(line.result)), None
    return restore_terms(ScoreResult.model_validate(row)), None
