"""Rollouts from files of rows, and results in all forms in which users keep them."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from citemark_schemas import EnvelopeError, ProblemDetail, Rollout, ScoreResult, StreamLine
from citemark_schemas.rows import Misread
from citemark_service.cli.plans import RowNotes, describe_problems
from citemark_service.row_files import Numbered
from citemark_service.score.formula import restore_terms
from citemark_service.shapes.plan import ReadPlan, Response
from citemark_service.trainers.rows import Row
from citemark_service.trainers.table import rollout_anywhere

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
    """Iterates once over rows, each as the trainers' routes would read it, with its response.

    An id that an earlier row has makes a row bad. `ignored` is the setting `ignored_rubric_keys`.
    """

    def __init__(
        self,
        rows: Iterable[Numbered],
        ignored: Set[str] = frozenset(),
        plan: ReadPlan = ReadPlan(),  # noqa: B008 - immutable
    ) -> None:
        self._rows = rows
        self._ignored = ignored
        self._plan = plan
        self._place_of: dict[str, str] = {}
        self.notes = RowNotes(plan)

    @property
    def ids(self) -> list[str]:
        return list(self._place_of)

    def __iter__(self) -> Iterator[RolloutRow | BadRow]:
        for position, numbered in enumerate(self._rows):
            if numbered.row is None:
                yield BadRow(numbered.place, numbered.problem)
                continue
            try:
                yield self._read(numbered.place, numbered.row, position)
            except ValueError as error:
                yield BadRow(numbered.place, str(error))

    def _read(self, place: str, given: Row, position: int) -> RolloutRow | BadRow:
        known = self._plan.read(given, scored=True)
        problems: list[ProblemDetail] = []
        response, rollout = Response(""), None
        try:
            response = known.read_response()
        except Misread as error:
            problems.append(ProblemDetail(loc=error.place, message=error.message))
        try:
            rollout = rollout_anywhere(
                known.fields,
                self._ignored,
                response=response.text,
                tool_output=response.tool_output,
                **known.reading,
            )
        except EnvelopeError as error:
            problems = [*error.details, *problems]
        if rollout is None or problems:
            return BadRow(place, describe_problems(problems, given))
        self.notes.add(known, rollout, response)
        read = RolloutRow(place, position, known.add_reference(rollout))
        earlier = self._place_of.setdefault(read.id, place)
        if earlier != place:
            way_out = "give each row its own, or name another column: --map id=COLUMN"
            return BadRow(place, f"id {read.id!r} is that of {earlier} already; {way_out}")
        return read


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
