"""Rows labelled by people, and the tasks that put them to a judge.

Three kinds are measured: claim support (`claim`, `snippets`, and `human_label` as a name), rubric
criteria (`criterion`, `polarity`, `response`, and `human_label` as a number), and the citation F1
of whole rollouts (`tool_output`, `response`, and the F1 as `expected.f1_default`). Rollouts without
it are recognised but not measured. Other fields are ignored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from citemark_rubrics import RubricLibrary
from citemark_schemas import FormatReport, Knobs, Polarity, Rollout, Snippet, to_details
from citemark_schemas.rubric import MixedRubrics
from citemark_schemas.verdict import Unit
from citemark_service.errors import DataError
from citemark_service.judges.tasks import CitationTask, CitedClaim, CriteriaTask
from citemark_service.parsing.lines import read_lines
from citemark_service.parsing.parsed import Answer, Claim, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.units import split_units, to_sentences
from citemark_service.row_files import RowFile
from citemark_service.score.citations import judgeable_ids
from citemark_service.score.rollout import ParsedRollout, parse_rollout

_SUPPORT: Final = {"supported": 1.0, "partially_supported": 0.5, "not_supported": 0.0}
_CRITERIA: Final[TypeAdapter[MixedRubrics]] = TypeAdapter(MixedRubrics)


def cite_all(question: str, sources: Sources, text: str) -> CitationTask:
    """A task of one claim, which cites all sources, up to the usual cap of ids."""
    claim = Claim(text=text, ids=tuple(sources.by_id), span=(0, len(text)))
    cited = CitedClaim(claim, judgeable_ids(claim, sources))
    return CitationTask(question, sources, claims=(cited,), sentences=())


def grade(
    question: str, sources: Sources, answer: Answer, criterion: str, polarity: Polarity
) -> CriteriaTask:
    """A task of one criterion; the answer passes all format checks."""
    given = {"description": criterion, "polarity": polarity}
    return CriteriaTask(
        question=question,
        sources=sources,
        answer=answer,
        format=FormatReport(checks={}, bonus=1.0),
        criteria=_CRITERIA.validate_python([given]),
    )


class SupportRow(BaseModel, frozen=True):
    question: str = ""
    snippets: tuple[Snippet, ...]
    claim: str = Field(min_length=1)
    human_label: Literal["supported", "partially_supported", "not_supported"]

    @property
    def label(self) -> float:
        return _SUPPORT[self.human_label]

    def to_task(self) -> CitationTask:
        return cite_all(self.question, read_sources(None, self.snippets), self.claim)


class CriterionRow(BaseModel, frozen=True):
    question: str = ""
    snippets: tuple[Snippet, ...] = ()
    criterion: str = Field(min_length=1)
    polarity: Polarity
    response: str
    human_label: Unit

    @property
    def label(self) -> float:
        """In [0, 1]: how far the quality or the defect is present."""
        return self.human_label

    def to_task(self) -> CriteriaTask:
        """A task whose answer is the whole response, without citations."""
        text, span = self.response, (0, len(self.response))
        sentences = to_sentences(text, split_units(text, read_lines(text, span), (span,)))
        answer = Answer(text=text, prose=text, span=span, sentences=sentences)
        sources = read_sources(None, self.snippets)
        return grade(self.question, sources, answer, self.criterion, self.polarity)


class ExpectedF1(BaseModel, frozen=True):
    f1_default: Unit


class ScoredRow(BaseModel, frozen=True):
    question: str = ""
    tool_output: str
    response: str
    expected: ExpectedF1

    @property
    def label(self) -> float:
        return self.expected.f1_default

    def parse(self, knobs: Knobs, library: RubricLibrary) -> ParsedRollout:
        text = self.tool_output
        rollout = Rollout(question=self.question, tool_output=text, response=self.response)
        return parse_rollout(rollout, knobs, library, 0)


LabelledRow = SupportRow | CriterionRow | ScoredRow


def read_labelled(path: Path) -> list[LabelledRow] | None:
    """The labelled rows of one file, all of one kind; None for a file of rollouts without an F1.

    Raises `DataError`, naming file, line and field, for a file that cannot be read or is empty,
    and for a row that is malformed or of another kind than the first.
    """
    rows: list[LabelledRow] = []
    for numbered in RowFile(path):
        if numbered.row is None:
            raise DataError(f"{path}, {numbered.place}: {numbered.problem}")
        try:
            row = _read_row(numbered.row)
        except ValueError as error:
            raise DataError(f"{path}, {numbered.place}: {error}") from error
        if row is None and not rows:
            return None
        if row is None or (rows and type(row) is not type(rows[0])):
            told = "is of another kind than the rows before it"
            raise DataError(f"{path}, {numbered.place}: {told}")
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: holds no row")
    return rows


def _read_row(fields: Mapping[str, Any]) -> LabelledRow | None:
    """A labelled row; None for a whole rollout. Raises `ValueError`."""
    try:
        if "tool_output" in fields:
            expected = fields.get("expected")
            return ScoredRow.model_validate(fields) if expected else None
        if "criterion" in fields:
            return CriterionRow.model_validate(fields)
        if "claim" in fields:
            return SupportRow.model_validate(fields)
    except ValidationError as error:
        first = to_details(error, root="row")[0]
        raise ValueError(f"{first.loc}: {first.message}") from error
    raise ValueError("has neither claim nor criterion nor tool_output")
