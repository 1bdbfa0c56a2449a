"""Measuring a judge against human labels: labelled rows, put to a judge as tasks, and figures.

Two kinds of rows are measured: claim support (`claim`, `snippets`, and `human_label` as a name)
and rubric criteria (`criterion`, `polarity`, `response`, and `human_label` as a number). Whole
rollouts (`tool_output`) are recognised but not measured. Other fields are ignored.
"""

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from citemark_schemas import FormatReport, Polarity, Snippet, to_details
from citemark_schemas.rubric import MixedRubrics
from citemark_schemas.verdict import Unit
from citemark_service.errors import DataError, JudgeError
from citemark_service.judges.tasks import (
    CitationTask,
    CitedClaim,
    CriteriaTask,
    Judge,
    Meter,
    Usage,
)
from citemark_service.parsing.lines import read_lines
from citemark_service.parsing.parsed import Answer, Claim, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.units import split_units, to_sentences
from citemark_service.row_files import RowFile
from citemark_service.score.citations import judgeable_ids

FIXED_THRESHOLD = 0.5  # scores of at least this are positive


@dataclass(frozen=True, slots=True)
class LabelledScore:
    """The judge's score and the human label of one row, both in [0, 1]."""

    score: float
    label: float

    @property
    def positive(self) -> bool:
        """Whether the label is above one half: partial support is negative."""
        return self.label > 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of agreement, None where undefined; accuracy and AUC need rows of both classes."""

    rows: int
    positives: int
    balanced_accuracy: float | None  # in [0, 1], at the fixed threshold
    threshold_best: float | None  # chosen on the same rows, so its accuracy is optimistic
    balanced_accuracy_best: float | None  # in [0.5, 1], at `threshold_best`
    auc: float | None  # in [0, 1], ties count half
    pearson: float | None  # in [-1, 1]; None where scores or labels are constant
    kappa: float | None  # in [-1, 1]; None where scores and labels are all of one class


def _count_classes(pairs: Sequence[LabelledScore]) -> tuple[int, int]:
    positives = sum(pair.positive for pair in pairs)
    return positives, len(pairs) - positives


def auc(pairs: Sequence[LabelledScore]) -> float | None:
    """Probability that a positive outscores a negative, ties half (Mann-Whitney U, by ranks)."""
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    doubled_ranks = passed = 0  # twice the rank sum, an integer even with ties
    ordered = sorted(pairs, key=lambda pair: pair.score)
    for _, group in groupby(ordered, key=lambda pair: pair.score):
        tied = list(group)
        doubled_ranks += (2 * passed + len(tied) + 1) * sum(pair.positive for pair in tied)
        passed += len(tied)
    return (doubled_ranks - positives * (positives + 1)) / (2 * positives * negatives)


def balanced_accuracy(pairs: Sequence[LabelledScore], threshold: float) -> float | None:
    """Mean recall of both classes, where a score of at least `threshold` is positive."""
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    hits = sum(pair.score >= threshold for pair in pairs if pair.positive)
    passes = sum(pair.score < threshold for pair in pairs if not pair.positive)
    return (hits / positives + passes / negatives) / 2


def best_threshold(pairs: Sequence[LabelledScore]) -> tuple[float, float] | None:
    """The score that, as a threshold, gives the highest balanced accuracy, and that accuracy.

    Of equally good thresholds it is the lowest.
    """
    positives, negatives = _count_classes(pairs)
    if not positives or not negatives:
        return None
    ordered = sorted(pairs, key=lambda pair: pair.score)
    below = list(accumulate((pair.positive for pair in ordered), initial=0))
    best = (ordered[0].score, 0.5)  # the lowest score calls all rows positive
    for place, pair in enumerate(ordered):
        if place and pair.score == ordered[place - 1].score:
            continue
        recall = (positives - below[place]) / positives
        accuracy = (recall + (place - below[place]) / negatives) / 2
        best = max(best, (pair.score, accuracy), key=lambda found: found[1])
    return best


def pearson(pairs: Sequence[LabelledScore]) -> float | None:
    """Correlation of the scores with the graded labels."""
    scores, labels = [pair.score for pair in pairs], [pair.label for pair in pairs]
    # Tested exactly: a mean of equal floats may differ from them, and its error would correlate.
    if len(set(scores)) < 2 or len(set(labels)) < 2:
        return None
    try:
        return min(1.0, max(-1.0, statistics.correlation(scores, labels)))
    except statistics.StatisticsError:  # the squares are too small for floats
        return None


def kappa(pairs: Sequence[LabelledScore]) -> float | None:
    """Cohen's kappa of scores and labels, both cut at 0.5."""
    if not pairs:
        return None
    called = sum(pair.score >= FIXED_THRESHOLD for pair in pairs) / len(pairs)
    labelled = sum(pair.positive for pair in pairs) / len(pairs)
    agreed = sum((pair.score >= FIXED_THRESHOLD) == pair.positive for pair in pairs) / len(pairs)
    chance = called * labelled + (1 - called) * (1 - labelled)
    return (agreed - chance) / (1 - chance) if chance < 1 else None


def compute_figures(pairs: Sequence[LabelledScore]) -> Figures:
    threshold_best, accuracy_best = best_threshold(pairs) or (None, None)
    return Figures(
        rows=len(pairs),
        positives=_count_classes(pairs)[0],
        balanced_accuracy=balanced_accuracy(pairs, FIXED_THRESHOLD),
        threshold_best=threshold_best,
        balanced_accuracy_best=accuracy_best,
        auc=auc(pairs),
        pearson=pearson(pairs),
        kappa=kappa(pairs),
    )


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


LabelledRow = SupportRow | CriterionRow


def read_labelled(path: Path) -> list[LabelledRow] | None:
    """The labelled rows of one file, all of one kind; None for a file of whole rollouts.

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
            return None
        if "criterion" in fields:
            return CriterionRow.model_validate(fields)
        if "claim" in fields:
            return SupportRow.model_validate(fields)
    except ValidationError as error:
        first = to_details(error, root="row")[0]
        raise ValueError(f"{first.loc}: {first.message}") from error
    raise ValueError("has neither claim nor criterion nor tool_output")


@dataclass(frozen=True, slots=True)
class Agreement:
    file: str  # the name without its folder
    kind: Literal["support", "criteria", "rollouts"]
    failed: int = 0  # rows without a verdict, which are in no figure
    figures: Figures | None = None  # None for a skipped file
    by_criterion: Mapping[str, Figures] = field(default_factory=dict)
    """By the criterion's title, sorted; empty for claim support."""
    usage: Usage = field(default_factory=Usage)  # includes failed calls
    skipped: str | None = None  # why the file was not measured


async def measure(judge: Judge, path: Path, *, concurrency: int) -> Agreement:
    """Judge every row of a labelled file, `concurrency` >= 1 at a time, and compute figures.

    Raises `DataError` as `read_labelled`.
    """
    rows = await asyncio.to_thread(read_labelled, path)
    if rows is None:
        reason = "whole rollouts are scored by `citemark score`"
        return Agreement(path.name, "rollouts", skipped=reason)
    meter = Meter()
    judged: list[LabelledScore] = []
    by_title: defaultdict[str, list[LabelledScore]] = defaultdict(list)
    waiting = iter(rows)

    async def work() -> None:
        for row in waiting:  # the workers share one iterator
            task = row.to_task()
            try:
                if isinstance(task, CriteriaTask):
                    criteria = await judge.judge_criteria(task, meter=meter, deadline=None)
                    pair = LabelledScore(criteria[0].score, row.label)
                    by_title[task.criteria[0].title].append(pair)
                else:
                    citations = await judge.judge_citations(task, meter=meter, deadline=None)
                    pair = LabelledScore(citations.claims[0].support, row.label)
            except JudgeError:
                continue
            judged.append(pair)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(rows))):
            group.create_task(work())
    return Agreement(
        file=path.name,
        kind="criteria" if isinstance(rows[0], CriterionRow) else "support",
        failed=len(rows) - len(judged),
        figures=compute_figures(judged),
        by_criterion={title: compute_figures(by_title[title]) for title in sorted(by_title)},
        usage=meter.usage,
    )
