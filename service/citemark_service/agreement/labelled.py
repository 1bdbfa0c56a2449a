"""Rows that people have labelled: read from a file and turned into what a judge is asked.

Two kinds are measured: claim support (`claim`, `snippets`, and `human_label` as a name) and
rubric criteria (`criterion`, `polarity`, `response`, and `human_label` as a number). Whole
rollouts (`tool_output`) are recognised and left to others. Fields not named are ignored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from citemark_schemas import FormatReport, Polarity, Snippet
from citemark_schemas.rubric import MixedRubrics
from citemark_schemas.verdict import Unit
from citemark_service.errors import DataError
from citemark_service.judges.tasks import CitationTask, CitedClaim, CriteriaTask
from citemark_service.parsing.parsed import Answer, Claim
from citemark_service.parsing.sentences import split_sentences
from citemark_service.parsing.sources import read_sources
from citemark_service.score.citations import judgeable_ids

SupportLabel = Literal["supported", "partially_supported", "not_supported"]
_VALUES: dict[SupportLabel, float] = dict(zip(get_args(SupportLabel), (1.0, 0.5, 0.0), strict=True))
_CRITERIA: TypeAdapter[MixedRubrics] = TypeAdapter(MixedRubrics)


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str = ""
    snippets: tuple[Snippet, ...] = ()


class SupportRow(_Row):
    """A claim beside its snippets."""

    claim: str = Field(min_length=1)
    snippets: tuple[Snippet, ...]
    human_label: SupportLabel

    @property
    def label(self) -> float:
        """1 supported, 0.5 partly, 0 not."""
        return _VALUES[self.human_label]

    @property
    def title(self) -> None:
        """A claim belongs to no criterion."""

    def task(self) -> CitationTask:
        """The claim as if it cited all of its snippets; the usual cap of ids holds."""
        sources = read_sources(None, self.snippets)
        claim = Claim(text=self.claim, ids=tuple(sources.by_id), span=(0, len(self.claim)))
        cited = CitedClaim(claim, judgeable_ids(claim, sources))
        return CitationTask(self.question, sources, claims=(cited,), sentences=())


class CriterionRow(_Row):
    """An answer in plain prose beside one criterion."""

    criterion: str = Field(min_length=1)
    polarity: Polarity
    response: str
    human_label: Unit

    @property
    def label(self) -> float:
        """How far the criterion is met or its defect present."""
        return self.human_label

    @property
    def title(self) -> str:
        """The criterion's short name."""
        return self._criteria[0].title

    @property
    def _criteria(self) -> MixedRubrics:
        given = {"description": self.criterion, "polarity": self.polarity}
        return _CRITERIA.validate_python([given])

    def task(self) -> CriteriaTask:
        """The response as an answer without claim tags; of its format there is nothing to say."""
        span = (0, len(self.response))
        return CriteriaTask(
            question=self.question,
            sources=read_sources(None, self.snippets),
            answer=Answer(
                text=self.response,
                prose=self.response,
                span=span,
                sentences=split_sentences(self.response, (span,), span[1]),
            ),
            format=FormatReport(checks={}, bonus=1.0),
            criteria=self._criteria,
        )


LabelledRow = SupportRow | CriterionRow


def _row_type(row: dict[str, Any], place: str) -> type[LabelledRow] | None:
    """None for a whole rollout."""
    if "tool_output" in row:
        return None
    if "criterion" in row:
        return CriterionRow
    if "claim" in row:
        return SupportRow
    raise DataError(f"{place}: has neither claim nor criterion nor tool_output")


def _decoded(line: bytes, place: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: not a JSON object: {error}") from error


def _validated(kind: type[LabelledRow], row: dict[str, Any], place: str) -> LabelledRow:
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(f"{place}: {field}: {first['msg']}") from error


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def read_labelled(path: Path) -> tuple[LabelledRow, ...] | None:
    """The labelled rows of one JSONL file, all of one kind; None for a file of whole rollouts.

    Raises:
        DataError: the file cannot be read or is empty, or a line is malformed or of another
            kind than the first; the message names file, line and field.
    """
    rows: list[LabelledRow] = []
    first: type[LabelledRow] | None = None
    for place, line in _lines(path):
        row = _decoded(line, place)
        kind = _row_type(row, place)
        if kind is None and not rows:
            return None
        first = first or kind
        if kind is None or kind is not first:
            raise DataError(f"{place}: is of another kind than the rows before it")
        rows.append(_validated(kind, row, place))
    if not rows:
        raise DataError(f"{path}: holds no row")
    return tuple(rows)
