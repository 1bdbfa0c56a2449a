"""Measuring a judge on one file of labelled rows."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from citemark_service.agreement.figures import Figures, LabelledScore, compute_figures
from citemark_service.agreement.labelled import CriterionRow, read_labelled
from citemark_service.errors import JudgeError
from citemark_service.judges.tasks import CriteriaTask, Judge, Meter, Usage


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
