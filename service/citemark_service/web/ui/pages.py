"""Each page from the ledger to HTML. Everything here blocks: call it off the event loop."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import Query
from sqlalchemy import ColumnElement

from citemark_schemas import Rollout, ScoreResult
from citemark_service.errors import InvalidRequest, NotKept
from citemark_service.judges.tasks import JudgeIdentity, Words
from citemark_service.ledger.reading import WINDOW, KeptRollout, LedgerReader, Place, Record
from citemark_service.ledger.tables import NO_STEP, rollouts
from citemark_service.score import explanation
from citemark_service.score.formula import attainable
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.ui import summaries
from citemark_service.web.ui.answer import find_criteria, mark_answer
from citemark_service.web.ui.charts import sparkline
from citemark_service.web.ui.templates import Templates

# How much one page shows, or reads, at most.
_RUNS: Final = 100
_SPARK_POINTS: Final = 40
_CURVE_POINTS: Final = 400
_STEPS: Final = 50
_LATEST: Final = 4
_EXTREMES: Final = 5
_FILTERED: Final = 100
_WIDEST: Final = 25
_SIBLINGS: Final = 64
_SAMPLES: Final = 32
_LOSSES: Final = 8
_LISTED: Final = 400
_MOST: Final = 2**63 - 1  # the largest integer of a database

RunName = Annotated[str, Query(max_length=256)]
StepNumber = Annotated[int, Query(ge=-1, le=_MOST)]
GroupKey = Annotated[str, Query(max_length=512)]
Number = Annotated[int, Query(ge=0, le=_MOST)]
Filter = Literal["failed", "citation", "siblings", "addressed"]
Outcome = Literal["judged", "refused", "failed"]
Sort = Literal["worst", "best", "latest", "longest"]

# Condition and order of the rollouts under a filter; `siblings` lists groups instead.
_FILTERS: Final[dict[str, tuple[ColumnElement[bool], ColumnElement[Any]]]] = {
    "failed": (rollouts.c.failure.is_not(None), rollouts.c.seq.desc()),
    "citation": (rollouts.c.citation_f1.is_not(None), rollouts.c.citation_f1.asc()),
    "addressed": (rollouts.c.addressed > 0, rollouts.c.seq.desc()),
}


@dataclass(frozen=True)
class Pages:
    """The pages of the ledger; parameters are those of a page's address. Safe in several threads.

    Every page raises `NotKept`, and `LedgerError` where the ledger cannot be read.
    """

    view: LedgerReader
    pipeline: Pipeline
    templates: Templates

    def runs(self, waiting: int | None) -> str:
        """Every run, the latest first.

        `waiting` is how many rollouts wait for a ledger that cannot be written; None where it can.
        """
        # One more than is shown tells whether there are more.
        rows = self.view.runs()[: _RUNS + 1]
        more = len(rows) > _RUNS
        runs = []
        for row in rows[:_RUNS]:
            curve = self.view.curve(row["run"], points=_SPARK_POINTS)
            means = [summaries.mean(each, "reward_sum", "rewarded") for each in curve]
            runs.append((row, sparkline(means)))
        return self.templates.html("runs", runs=runs, more=more, waiting=waiting)

    def run(
        self,
        run: RunName,
        show: Filter | None = None,
        before: Annotated[int | None, Query(ge=-1, le=_MOST)] = None,
    ) -> str:
        """A run: its curves, the worst and best of its latest steps, its steps below `before`."""
        if show is not None:
            return self._list_rollouts(run, show)
        curve = self.view.curve(run, points=_CURVE_POINTS)
        if not curve:
            raise NotKept("no rollout of this run is kept")
        steps = self.view.latest_steps(run, before=before, limit=_STEPS + 1)
        recent = self._latest_rollouts(run)
        worst, best = summaries.worst_and_best(recent, _EXTREMES)
        return self.templates.html(
            "run",
            run=run,
            reward=summaries.reward_chart(curve),
            components=summaries.component_charts(curve),
            stretched=any(each["step"] != each["last"] for each in curve),
            single=len(curve) == 1,
            worst=worst,
            best=best,
            recent=recent,
            refused=[row for row in recent if summaries.outcome(row) == "refused"],
            steps=steps[:_STEPS],
            older=steps[_STEPS - 1]["step"] if len(steps) > _STEPS else None,
        )

    def _latest_rollouts(self, run: str) -> list[Record]:
        """Rollouts of the latest steps, `WINDOW` at most in all."""
        found: list[Record] = []
        for step in self.view.latest_steps(run, limit=_LATEST):
            # Rollouts without a step are shown only where there are no others.
            if len(found) < WINDOW and (not found or step["step"] != NO_STEP):
                left = WINDOW - len(found)
                found += self.view.window(run, step["step"], limit=left)
        return found

    def _list_rollouts(self, run: str, show: str) -> str:
        """Rollouts under a filter, or groups by the spread of their rewards."""
        if show == "siblings":
            groups = self.view.groups(Place(run=run), limit=_WIDEST)
            places = (Place(run, row["step"], row["group_key"]) for row in groups)
            odd = [summaries.farthest(self.view.rollouts(each, limit=_SIBLINGS)) for each in places]
            pairs = [pair for pair in zip(groups, odd, strict=True) if pair[1] is not None]
            rows, limit, listed = groups, _WIDEST, dict[str, Any](pairs=pairs)
        else:
            condition, order = _FILTERS[show]
            by, limit = [order, rollouts.c.seq], _FILTERED
            rows = self.view.rollouts(Place(run=run), condition, order=by, limit=limit)
            listed = {"rows": rows}
        questions = self.view.questions(rows)
        return self.templates.html(
            "filtered", run=run, show=show, limit=limit, questions=questions, **listed
        )

    def step(
        self, run: RunName, step: StepNumber, sort: Sort = "worst", show: Outcome | None = None
    ) -> str:
        sums = self.view.step(run, step)
        if sums is None:
            raise NotKept("no rollout of this step is kept")
        rows = self.view.window(run, step)
        groups = self.view.groups(Place(run=run, step=step), limit=_WIDEST)
        found = [row for row in rows if show in (None, summaries.outcome(row))]
        listed = sorted(found, key=summaries.ORDERS[sort])[:_FILTERED]
        samples = self.view.samples(rows)
        return self.templates.html(
            "step",
            run=run,
            step=step,
            sums=sums,
            looked=len(rows),
            distribution=summaries.distribution(rows),
            noise=summaries.noise_share(samples),
            rubrics=summaries.rubric_means(samples),
            groups=groups,
            sort=sort,
            show=show,
            outcomes=Counter(map(summaries.outcome, rows)),
            found=len(found),
            rows=listed,
            questions={**self.view.questions(groups), **self.view.questions(listed)},
            neighbours=self.view.neighbours(run, step),
        )

    def group(self, run: RunName, step: StepNumber, group: GroupKey) -> str:
        rows = self.view.rollouts(Place(run, step, group), limit=_SAMPLES + 1)
        if not rows:
            raise NotKept("no rollout of this group is kept")
        samples = summaries.best_first(self.view.samples(rows[:_SAMPLES]))
        first = self.view.rollout(rows[0]["seq"])
        return self.templates.html(
            "group",
            run=run,
            step=step,
            group=group,
            question="" if first is None else first.rollout.question,
            samples=samples,
            advantages=summaries.advantages(samples),
            noise=summaries.noise_share(samples),
            measures=summaries.measures(samples),
            left=len(rows) - len(samples),
        )

    def rollout(self, n: Number) -> str:
        kept = self._read_rollout(n)
        step = NO_STEP if kept.step is None else kept.step
        siblings = self.view.rollouts(Place(kept.run or "", step, kept.group), limit=_SIBLINGS)
        return rollout_page(
            self.templates,
            self.pipeline,
            kept.rollout,
            kept.result,
            kept=kept,
            siblings=[row["seq"] for row in siblings],
        )

    def judge(self, n: Number) -> str:
        """A rollout's prompts, rendered again, and what the judge answered."""
        kept = self._read_rollout(n)
        prompts: tuple[Words, ...] = ()
        with suppress(InvalidRequest):  # its static set is no longer there
            prompts = self.pipeline.prompts(kept.rollout, kept.result.knobs)
        judged_by = JudgeIdentity(kept.result.judge.model, kept.result.versions.prompts)
        return self.templates.html(
            "judge", kept=kept, prompts=prompts, then=judged_by, now=self.pipeline.judged_by
        )

    def _read_rollout(self, seq: int) -> KeptRollout:
        kept = self.view.rollout(seq)
        if kept is None:
            raise NotKept("this rollout is not, or no longer, kept")
        return kept


def rollout_page(
    templates: Templates,
    pipeline: Pipeline,
    rollout: Rollout,
    result: ScoreResult,
    *,
    kept: KeptRollout | None = None,
    siblings: Sequence[int] = (),
) -> str:
    """A scored rollout; `kept` and `siblings`, in order of writing, where it is in the ledger."""
    rubrics = result.rubrics[:_LISTED]
    static = pipeline.static_set(result.versions.static_rubrics)
    criteria = (*rollout.criteria, *(() if static is None else static.criteria))
    sums = [] if result.citation is None else [*explanation.citation_lines(result.citation)]
    sums += [explanation.rubric_line(result)] if result.rubrics else []
    losses = explanation.losses(result)[:_LOSSES]
    return templates.html(
        "rollout",
        rollout=rollout,
        result=result,
        reason=explanation.reason(result),
        attainable=attainable(result.terms),
        # Smaller ones would show as 0.000.
        losses=[loss for loss in losses if loss.amount >= 0.0005],
        answer=mark_answer(rollout, result),
        rubrics=list(zip(rubrics, find_criteria(rubrics, criteria), strict=True)),
        static_known=static is not None,
        claims=result.claims[:_LISTED],
        sums=[*sums, explanation.reward_line(result)],
        kept=kept,
        siblings=siblings,
    )
