"""How well a judge agrees with people, one file of labelled rows at a time."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from citemark_service.agreement.figures import Figures, Pair, figures
from citemark_service.agreement.labelled import CriterionRow, LabelledRow, read_labelled
from citemark_service.errors import JudgeError
from citemark_service.judges.tasks import CitationTask, Judge, Meter, Usage

FileKind = Literal["support", "criteria", "rollouts"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One file's agreement. A failed judgement is counted and never scored."""

    file: str
    """The file's name without its folder."""
    kind: FileKind
    failed: int = 0
    """Rows for which the judge gave no verdict; they are in no figure."""
    figures: Figures | None = None
    """Over all judged rows; None for a file that was skipped."""
    by_criterion: Mapping[str, Figures] = field(default_factory=dict)
    """The same for each criterion's title, sorted; empty for claim support."""
    usage: Usage = field(default_factory=Usage)
    """What judging cost, failed calls included."""
    skipped: str | None = None
    """Why the file was not measured."""


async def _judged(judge: Judge, row: LabelledRow, meter: Meter) -> float | None:
    """The judge's score for one row; None where it gave no verdict."""
    task = row.task()
    try:
        if isinstance(task, CitationTask):
            citations = await judge.judge_citations(task, meter=meter, deadline=None)
            return citations.claims[0].support
        criteria = await judge.judge_criteria(task, meter=meter, deadline=None)
        return criteria[0].score
    except JudgeError:
        return None


async def _scores(
    judge: Judge, rows: tuple[LabelledRow, ...], meter: Meter, concurrency: int
) -> list[float | None]:
    """Scores in the order of the rows; `concurrency` workers share one iterator of them."""
    scores: list[float | None] = [None] * len(rows)
    waiting = iter(enumerate(rows))

    async def work() -> None:
        for place, row in waiting:
            scores[place] = await _judged(judge, row, meter)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(rows))):
            group.create_task(work())
    return scores


def _by_title(rows: tuple[LabelledRow, ...], scores: list[float | None]) -> dict[str, Figures]:
    titled: defaultdict[str, list[Pair]] = defaultdict(list)
    for row, score in zip(rows, scores, strict=True):
        if isinstance(row, CriterionRow) and score is not None:
            titled[row.title].append(Pair(score, row.label))
    return {title: figures(titled[title]) for title in sorted(titled)}


async def measure(judge: Judge, path: Path, *, concurrency: int) -> Agreement:
    """Judge every row of a labelled file, `concurrency` >= 1 at a time, and compare.

    Claim support counts as positive where people called it fully supported; a criterion where
    they gave it more than half. Raises `DataError` for a file that cannot be read as labelled.
    """
    rows = await asyncio.to_thread(read_labelled, path)
    if rows is None:
        reason = "whole rollouts are scored by `citemark score`"
        return Agreement(path.name, "rollouts", skipped=reason)
    meter = Meter()
    scores = await _scores(judge, rows, meter, concurrency)
    judged = zip(rows, scores, strict=True)
    return Agreement(
        file=path.name,
        kind="criteria" if isinstance(rows[0], CriterionRow) else "support",
        failed=scores.count(None),
        figures=figures([Pair(score, row.label) for row, score in judged if score is not None]),
        by_criterion=_by_title(rows, scores),
        usage=meter.usage,
    )
