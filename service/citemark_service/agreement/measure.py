"""Putting labelled rows to a judge, and two judges' verdicts on the same rows beside each other."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeVar

from citemark_rubrics import RubricLibrary, load_library
from citemark_service.agreement.figures import (
    FIXED_THRESHOLD,
    Figures,
    LabelledScore,
    auc,
    balanced_accuracy,
    bias,
    compute_figures,
    find_interval,
    pearson,
    resample,
    weighted_kappa,
)
from citemark_service.agreement.rows import (
    CriterionRow,
    LabelledRow,
    ScoredRow,
    SupportRow,
    read_labelled,
)
from citemark_service.errors import DataError, JudgeError
from citemark_service.judges.tasks import CriteriaTask, Judge, Meter, Origin, Usage
from citemark_service.settings import Settings

Item = TypeVar("Item")
Pairs = list[LabelledScore]
COMPARED: Final[Mapping[str, Callable[[Sequence[LabelledScore]], float | None]]] = {
    "balanced_accuracy": lambda pairs: balanced_accuracy(pairs, FIXED_THRESHOLD),
    "auc": auc,
    "weighted_kappa": weighted_kappa,
    "pearson": pearson,
    "bias": bias,
}
"""The figures that get intervals and are compared between judges."""
Kind = Literal["support", "criteria", "rollouts"]
_KINDS: Final[Mapping[type[LabelledRow], Kind]] = {
    SupportRow: "support",
    CriterionRow: "criteria",
    ScoredRow: "rollouts",
}


@dataclass(frozen=True, slots=True)
class JudgedRow:
    position: int  # in the file, from 0
    question: str
    title: str  # of the criterion; empty for claim support
    pair: LabelledScore


@dataclass(frozen=True, slots=True)
class Agreement:
    file: str  # the name without its folder
    kind: Kind
    failed: int = 0  # rows without a verdict, which are in no figure
    judged: tuple[JudgedRow, ...] = ()  # in file order
    figures: Figures | None = None  # None for a skipped file
    intervals: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """Of `COMPARED`: 95 %, by a bootstrap over questions."""
    by_criterion: Mapping[str, Figures] = field(default_factory=dict)
    """By the criterion's title, sorted; empty for claim support."""
    usage: Usage = field(default_factory=Usage)  # includes failed calls
    skipped: str | None = None  # why the file was not measured


async def measure(judge: Judge, path: Path, settings: Settings, *, concurrency: int) -> Agreement:
    """Judge every row of a labelled file, `concurrency` >= 1 at a time, and compute figures.

    Raises `DataError` as `read_labelled`.
    """
    rows = await asyncio.to_thread(read_labelled, path)
    if rows is None:
        reason = "rollouts without an expected.f1_default are scored by `citemark score`"
        return Agreement(path.name, "rollouts", skipped=reason)
    library = await asyncio.to_thread(load_library, settings.rubrics_dir)
    meter = Meter()
    judged: list[JudgedRow] = []
    waiting = iter(enumerate(rows))

    async def work() -> None:
        for position, row in waiting:  # the workers share one iterator
            try:
                title, score = await _judge(judge, row, settings, library, meter)
            except JudgeError:
                continue
            pair = LabelledScore(score, row.label)
            judged.append(JudgedRow(position, row.question, title, pair))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(rows))):
            group.create_task(work())
    judged.sort(key=lambda row: row.position)
    failed, kind = len(rows) - len(judged), _KINDS[type(rows[0])]
    return await asyncio.to_thread(_summarize, path.name, kind, failed, judged, meter.usage)


async def _judge(
    judge: Judge, row: LabelledRow, settings: Settings, library: RubricLibrary, meter: Meter
) -> tuple[str, float]:
    """The criterion's title, if the row has one, and the score."""
    if isinstance(row, ScoredRow):
        parsed = await asyncio.to_thread(row.parse, settings, library)
        verdicts, asked = None, parsed.citation_task(Origin(), cap=settings.max_claims)
        if asked is not None:
            verdicts = await judge.judge_citations(asked, meter=meter, deadline=None)
        _, _, citation = parsed.score_citations(asked, verdicts)
        return "", 0.0 if citation is None else citation.f1
    task = row.to_task()
    if isinstance(task, CriteriaTask):
        criteria = await judge.judge_criteria(task, meter=meter, deadline=None)
        return task.criteria[0].title, criteria[0].score
    citations = await judge.judge_citations(task, meter=meter, deadline=None)
    return "", citations.claims[0].support


def _summarize(
    file: str,
    kind: Kind,
    failed: int,
    judged: list[JudgedRow],
    usage: Usage,
) -> Agreement:
    by_title: defaultdict[str, Pairs] = defaultdict(list)
    for row in judged:
        by_title[row.title].append(row.pair)
    samples = list(resample(_group(judged, [row.pair for row in judged])))
    return Agreement(
        file=file,
        kind=kind,
        failed=failed,
        judged=tuple(judged),
        figures=compute_figures([row.pair for row in judged]),
        intervals={name: find_interval(map(figure, samples)) for name, figure in COMPARED.items()},
        by_criterion={
            title: compute_figures(by_title[title]) for title in sorted(by_title) if title
        },
        usage=usage,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two judges on the rows that both judged."""

    figure: str
    first: float
    second: float
    interval: tuple[float, float]  # of first - second
    p: float  # two-sided: how often a bootstrap over questions turns the difference round


def _unzip(rows: Sequence[tuple[LabelledScore, LabelledScore]]) -> tuple[Pairs, Pairs]:
    return [mine for mine, _ in rows], [other for _, other in rows]


def compare(first: Agreement, second: Agreement) -> tuple[int, list[Difference]]:
    """The number of rows that both judged, and the differences; those undefined are left out.

    Raises `DataError` where the two are not of the same file.
    """
    others = {row.position: row for row in second.judged}
    both = [(row, others[row.position]) for row in first.judged if row.position in others]
    for mine, other in both:
        if _identify(mine) != _identify(other):
            raise DataError(f"{first.file}: its rows are not those that the other judge was given")
    pairs = [(mine.pair, other.pair) for mine, other in both]
    samples = [_unzip(sample) for sample in resample(_group([mine for mine, _ in both], pairs))]
    sides = _unzip(pairs)
    found = []
    for name, figure in COMPARED.items():
        one, two = map(figure, sides)
        drawn = [(figure(mine), figure(other)) for mine, other in samples]
        apart = [a - b for a, b in drawn if a is not None and b is not None]
        edges = find_interval(apart)
        if one is not None and two is not None and edges is not None:
            tail = 1 + min(sum(each <= 0 for each in apart), sum(each >= 0 for each in apart))
            p = min(1.0, 2 * tail / (len(apart) + 1))
            found.append(Difference(name, one, two, edges, p))
    return len(both), found


def _identify(row: JudgedRow) -> tuple[str, str, float]:
    return row.title, row.question, row.pair.label


def _group(rows: Sequence[JudgedRow], items: Sequence[Item]) -> list[list[Item]]:
    """The rows' items by question; each alone where all rows have the same, which says nothing."""
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for row, item in zip(rows, items, strict=True):
        groups[row.question].append(item)
    return list(groups.values()) if len(groups) > 1 else [[item] for item in items]
