"""How well a judge agrees with people, one file of labelled rows at a time."""

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
    """One file's agreement. A failed judgement is counted and never scored."""

    file: str
    """The file's name without its folder."""
    kind: Literal["support", "criteria", "rollouts"]
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
